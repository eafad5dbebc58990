// What the page asks of the server. Every failure is an Error with one message for people.

async function checked(answer) {
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = text.trim();
  try {
    message = JSON.parse(text).error;
  } catch { /* refusals of the guard are plain text */ }
  throw new Error(message || `The server answered ${answer.status}.`);
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `vera serve` still running?");
  }
  return checked(answer);
}

export async function about() {
  return (await ask("api/about")).json();
}

/** Sends a file; its facts and the preview's pixels come back. */
export async function openPhoto(file) {
  const headers = { "X-Name": encodeURIComponent(file.name) };
  const answer = await ask("api/photos", { method: "POST", headers, body: file });
  const photo = await answer.json();
  const preview = await ask(`api/photos/${photo.id}/preview`);
  photo.preview.rgba = new Uint8Array(await preview.arrayBuffer());
  return photo;
}

/** The events of a plan, one after the other, until it is done; `signal` stops it. */
export async function* plan(photo, task, signal) {
  const body = JSON.stringify(task);
  const answer = await ask(`api/photos/${photo.id}/plan`, { method: "POST", body, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

export function address(look, what, strengths) {
  return `api/looks/${look}/${what}?${new URLSearchParams(strengths)}`;
}

/** Curves and LUT of a look with these group strengths. */
export async function bake(look, groups, signal) {
  const answer = await ask(address(look, "lut", groups), { signal });
  const knots = Number(answer.headers.get("X-Curve-Knots"));
  const size = Number(answer.headers.get("X-Lut-Size"));
  const values = new Float32Array(await answer.arrayBuffer());
  return [values.subarray(0, 3 * knots), knots, values.subarray(3 * knots), size];
}
