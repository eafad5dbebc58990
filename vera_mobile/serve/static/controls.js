import { html } from "./vendor/preact-htm.js";

const TASKS = [["auto", "Auto"], ["style", "In words"], ["param", "Sliders"]];
const WISHES = ["airy pink", "golden hour", "cinematic", "vintage", "deep blue sky", "black and white"];
const GROUPS = [["lighting", "Light"], ["global_color", "Colour"], ["specific_color", "Single colours"]];

/** "HueAdjustmentRed" as people read it: "Hue, red". */
function sliderName(name) {
  const single = name.match(/^(Hue|Saturation|Luminance)Adjustment(\w+)$/);
  if (single) return `${single[1]}, ${single[2].toLowerCase()}`;
  const plain = name.replace(/^(Incremental|Parametric)(\w+)$/, (_, kind, word) => (kind === "Parametric" ? `${word} (curve)` : word));
  return plain.replace("2012", "");
}

function Slider({ id, label, value, min, max, step, unit, onValue, rest }) {
  const shown = unit === "share" ? `${Math.round(value * 100)} %` : `${value > 0 ? "+" : ""}${value}`;
  // the bar runs from where the slider rests; the thumb, 1.1rem wide, never leaves the track
  const place = (v) => { const share = (v - min) / (max - min); return `calc(${share} * (100% - 1.1rem) + 0.55rem)`; };
  const bar = rest === 0 ? { "--low": place(Math.min(0, value)), "--high": place(Math.max(0, value)) } : { "--low": "0px", "--high": place(value) };
  return html`<div class="slider">
    <label for=${id}>${label}</label>
    <output for=${id}>${shown}</output>
    <input id=${id} type="range" min=${min} max=${max} step=${step} value=${value} style=${bar} aria-valuetext=${shown}
      onInput=${(e) => onValue(Number(e.target.value))} onDblClick=${() => onValue(rest)} />
  </div>`;
}

function Params({ sliders, values, onValues }) {
  const changed = (names) => names.filter((name) => values[name]).length;
  return html`<div class="params">
    ${GROUPS.map(([group, label], i) => html`<details open=${i === 0}>
      <summary>${label}${changed(sliders[group]) ? html` <span class="count">${changed(sliders[group])} set</span>` : ""}</summary>
      ${sliders[group].map((name) => html`<${Slider} key=${name} id=${`param-${name}`} label=${sliderName(name)} value=${values[name] ?? 0}
        min="-100" max="100" step="1" rest=${0} onValue=${(value) => onValues({ ...values, [name]: value })} />`)}
    </details>`)}
    <button type="button" class="small" onClick=${() => onValues({})}>All to 0</button>
  </div>`;
}

/** What to do: the task, its wish or sliders, look first or not, and the button that starts it. */
export function TaskForm({ facts, task, onTask, ready, planning, onRun, onStop }) {
  const set = (part) => onTask({ ...task, ...part });
  const lacking = task.task === "style" && !task.wish.trim();
  const submit = (e) => { e.preventDefault(); if (ready && !lacking && !planning) onRun(); };
  return html`<form class="card" onSubmit=${submit}>
    <fieldset class="tabs"><legend>What to do</legend>
      ${TASKS.map(([key, label]) => html`<label class=${task.task === key ? "tab on" : "tab"}>
        <input type="radio" name="task" value=${key} checked=${task.task === key} onChange=${() => set({ task: key })} />${label}</label>`)}
    </fieldset>
    ${task.task === "auto" && html`<p class="hint">The model decides what the photo needs.</p>`}
    ${task.task === "style" && html`<div class="wish">
      <label for="wish">Your wish</label>
      <input id="wish" type="text" maxlength=${facts?.limits.wish_chars} value=${task.wish} placeholder="airy pink" autocomplete="off"
        onInput=${(e) => set({ wish: e.target.value })} />
      <div class="chips">${WISHES.map((wish) => html`<button type="button" class="small" onClick=${() => set({ wish })}>${wish}</button>`)}</div>
    </div>`}
    ${task.task === "param" && facts && html`<${Params} sliders=${facts.sliders} values=${task.sliders} onValues=${(sliders) => set({ sliders })} />`}
    <label class="switch"><input type="checkbox" role="switch" checked=${task.instant} onChange=${(e) => set({ instant: e.target.checked })} />
      <span><b>Look first, words after</b><br /><span class="hint">The photo changes at once, and is a little less good.</span></span></label>
    ${planning
      ? html`<button type="button" id="stop" onClick=${onStop}>Stop</button>`
      : html`<button class="primary" id="run" disabled=${!ready || lacking}>Retouch</button>`}
  </form>`;
}

/** Overall strength, which is only the mix, and those of the groups, which need a new LUT. */
export function Strengths({ strength, onStrength, groups, onGroups }) {
  const common = { min: "0", max: "1.5", step: "0.01", unit: "share", rest: 1 };
  return html`<section class="card" aria-labelledby="strengths-title">
    <h2 id="strengths-title">How much of it</h2>
    <${Slider} ...${common} id="strength" label="Strength" value=${strength} onValue=${onStrength} />
    ${GROUPS.map(([group, label]) => html`<${Slider} ...${common} id=${group} label=${label} value=${groups[group]}
      onValue=${(value) => onGroups({ ...groups, [group]: value })} />`)}
  </section>`;
}
