import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import * as client from "./client.js";
import { LookCanvas } from "./look.js";
import { Strengths, TaskForm } from "./controls.js";

const FULL = { lighting: 1, global_color: 1, specific_color: 1 };
const TYPES = ".jpg,.jpeg,.png,.tif,.tiff,.webp";
const LOOK_STAGES = ["prepare", "vision", "prefill", "forced", "head"];

function milliseconds(value) {
  return value < 1000 ? `${Math.max(1, Math.round(value))} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** When the look and the words were there, from the stages' times. */
function timing(times, instant) {
  const sum = (names) => names.reduce((total, name) => total + (times[name] ?? 0), 0);
  const look = sum(LOOK_STAGES) + (instant ? 0 : times.decode ?? 0);
  const words = instant ? `, words after ${milliseconds(look + (times.decode ?? 0))}` : "";
  return `Look after ${milliseconds(look)}${words}.`;
}

function DropZone({ limits, busy, onFile }) {
  const input = useRef();
  return html`<div class="empty">
    <div class="frame-icon" aria-hidden="true"></div>
    <p class="lead">${busy ? "Reading the photo …" : "Drop a photo here"}</p>
    <button class="primary" disabled=${busy} onClick=${() => input.current.click()}>Choose a photo</button>
    <input ref=${input} type="file" accept=${TYPES} hidden aria-label="Photo"
      onChange=${(e) => e.target.files[0] && onFile(e.target.files[0])} />
    <p class="hint">JPEG, PNG, TIFF or WebP${limits ? `, up to ${Math.round(limits.upload_bytes / 2 ** 20)}\u00a0MB` : ""}.
      It does not leave this machine.</p>
  </div>`;
}

function Viewer({ photo, look, canvas, wipe, onWipe }) {
  const shape = { aspectRatio: `${photo.preview.width} / ${photo.preview.height}`,
    "--ratio": photo.preview.width / photo.preview.height };
  return html`<div class="stage">
    <div class="compare" style=${shape}>
      <canvas ref=${canvas} role="img" aria-label=${look ? `${photo.name}, retouched` : photo.name}></canvas>
      ${look && html`
        <input class="wipe" type="range" min="0" max="100" step="0.5" value=${wipe} aria-label="Before and after"
          aria-valuetext=${`${Math.round(wipe)} % of the width shows the photo before`}
          onInput=${(e) => onWipe(Number(e.target.value))} />
        <span class="line" style=${{ left: `${wipe}%` }} aria-hidden="true"><span class="grip"></span></span>
        ${wipe > 12 && html`<span class="badge left" aria-hidden="true">Before</span>`}
        ${wipe < 88 && html`<span class="badge right" aria-hidden="true">After</span>`}`}
    </div>
  </div>`;
}

function Words({ text, state, times, instant }) {
  const waiting = state === "planning" && !text;
  const kind = state === "planning" ? "text writing" : text ? "text" : "text none";
  const box = useRef();
  const atEnd = useRef(true);
  // follows the writing, unless somebody has scrolled back to read
  useEffect(() => { if (state === "planning" && atEnd.current) box.current.scrollTop = box.current.scrollHeight; }, [text, state]);
  const onScroll = (e) => { const b = e.target; atEnd.current = b.scrollHeight - b.scrollTop - b.clientHeight < 32; };
  return html`<section class="card words" aria-labelledby="words-title">
    <h2 id="words-title">In its words</h2>
    <p class=${kind} aria-live="polite" id="words" tabindex="0" ref=${box} onScroll=${onScroll}>${waiting ? "Looking …" : text || (times ? "Nothing to say about this one." : "What it sees and what it does will stand here.")}</p>
    ${times && html`<p class="hint" id="timing">${timing(times, instant)}</p>`}
  </section>`;
}

function Downloads({ look, strengths }) {
  const link = (what, words, kind) => html`<a class=${kind} download href=${client.address(look, what, strengths)} id=${`save-${what}`}>${words}</a>`;
  return html`<section class="card saves" aria-labelledby="saves-title">
    <h2 id="saves-title">Keep it</h2>
    <div class="row">${link("photo", "Photo", "primary")}${link("cube", ".cube", "")}${link("look", "Look, JSON", "")}</div>
    <p class="hint">The photo is rendered at its full size, with its metadata and colour profile.</p>
  </section>`;
}

function App() {
  const [facts, setFacts] = useState(null);
  const [photo, setPhoto] = useState(null);
  const [look, setLook] = useState(null);
  const [task, setTask] = useState({ task: "auto", wish: "", sliders: {}, instant: false });
  const [state, setState] = useState("idle");
  const [text, setText] = useState("");
  const [times, setTimes] = useState(null);
  const [planned, setPlanned] = useState(false);
  const [strength, setStrength] = useState(1);
  const [groups, setGroups] = useState(FULL);
  const [wipe, setWipe] = useState(50);
  const [error, setError] = useState("");
  const [over, setOver] = useState(false);
  const canvas = useRef();
  const drawn = useRef(null);
  const running = useRef(null);
  const baking = useRef({ busy: false, next: null });

  const fail = (e) => e.name !== "AbortError" && setError(e.message);

  useEffect(() => { client.about().then(setFacts).catch(fail); }, []);
  useEffect(() => {
    if (!photo) return;
    try {
      if (drawn.current?.canvas !== canvas.current) drawn.current = new LookCanvas(canvas.current);
      const { rgba, width, height, colour_space: space } = photo.preview;
      drawn.current.setPhoto(rgba, width, height, space);
    } catch (e) {
      fail(e);
    }
  }, [photo]);
  useEffect(() => {
    if (!drawn.current) return;
    drawn.current.strength = strength;
    drawn.current.wipe = wipe / 100;
    drawn.current.draw();
  }, [strength, wipe]);

  /** Fetches the LUT of the newest strengths; what came in between is skipped. */
  async function bake(id, values) {
    const queue = baking.current;
    queue.next = [id, values];
    if (queue.busy) return;
    queue.busy = true;
    try {
      while (queue.next) {
        const wanted = queue.next;
        queue.next = null;
        const baked = await client.bake(...wanted);
        if (!queue.next && drawn.current) drawn.current.setLook(...baked);
      }
    } catch (e) {
      queue.next = null;
      fail(e);
    } finally {
      queue.busy = false;
    }
  }

  function stop() {
    running.current?.abort();
    running.current = null;
  }

  async function retouch(opened, wanted) {
    stop();
    const control = new AbortController();
    running.current = control;
    setError(""); setText(""); setTimes(null); setState("planning"); setPlanned(wanted.instant);
    setStrength(1); setGroups(FULL);
    try {
      for await (const event of client.plan(opened, wanted, control.signal)) {
        if (event.event === "text") setText((old) => old + event.piece);
        if (event.event === "look") { setLook(event.id); bake(event.id, FULL); }
        if (event.event === "done") { setText(event.text); setTimes(event.timings_ms); }
        if (event.event === "error") throw new Error(event.message);
      }
    } catch (e) {
      fail(e);
    } finally {
      if (running.current === control) { running.current = null; setState("idle"); }
    }
  }

  async function open(file) {
    stop();
    setError(""); setState("opening");
    try {
      const opened = await client.openPhoto(file);
      setLook(null); setText(""); setTimes(null); setWipe(50); setPhoto(opened);
      if (task.task === "auto") await retouch(opened, task);
      else setState("idle");
    } catch (e) {
      fail(e);
      setState("idle");
    }
  }

  const drop = (e) => {
    e.preventDefault();
    setOver(false);
    if (e.dataTransfer.files[0]) open(e.dataTransfer.files[0]);
  };
  const regroup = (values) => { setGroups(values); bake(look, values); };
  const busy = state === "opening";
  const drags = { onDragOver: (e) => { e.preventDefault(); setOver(true); }, onDragLeave: () => setOver(false), onDrop: drop };

  return html`<div class="app" data-state=${state}>
    <header class="top">
      <h1>Vera</h1>
      <p class="hint">${facts ? `${facts.model}, ${facts.form}` : ""}</p>
      ${photo && html`<label class="button another">Another photo
        <input type="file" accept=${TYPES} class="hidden-input" onChange=${(e) => { if (e.target.files[0]) open(e.target.files[0]); e.target.value = ""; }} /></label>`}
    </header>
    <main class=${over ? "over" : ""} ...${drags}>
      <div class="photo-side">
        ${error && html`<div class="alert" role="alert"><p>${error}</p><button onClick=${() => setError("")} aria-label="Close the message">Close</button></div>`}
        ${photo ? html`<${Viewer} photo=${photo} look=${look} canvas=${canvas} wipe=${wipe} onWipe=${setWipe} />
          <p class="hint facts">${photo.name} · ${photo.width} × ${photo.height} · ${photo.bits} bit ${photo.format} · ${photo.colour_space}${photo.notes.length ? ` · ${photo.notes.join(" ")}` : ""}</p>`
        : html`<${DropZone} limits=${facts?.limits} busy=${busy} onFile=${open} />`}
      </div>
      <div class="panel">
        <${TaskForm} facts=${facts} task=${task} onTask=${setTask} ready=${!!photo && !busy} planning=${state === "planning"}
          onRun=${() => retouch(photo, task)} onStop=${() => { stop(); setState("idle"); }} />
        <${Words} text=${text} state=${state} times=${times} instant=${planned} />
        ${look && html`<${Strengths} strength=${strength} onStrength=${setStrength} groups=${groups} onGroups=${regroup} />
          <${Downloads} look=${look} strengths=${{ strength, ...groups }} />`}
      </div>
    </main>
  </div>`;
}

render(html`<${App} />`, document.getElementById("app"));
