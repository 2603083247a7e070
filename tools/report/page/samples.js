"use strict";
const sampleCache = new Map();

function samplesOf(run) {
  if (!run.samples) return [];
  if (!sampleCache.has(run.index)) sampleCache.set(run.index, JSON.parse(asset(run.samples)));
  return sampleCache.get(run.index);
}

const sampleKey = (run, sample) => `${run.data || run.experiment} · ${sample.name}`;

function sampleIn(run, key) {
  return samplesOf(run).find((sample) => sampleKey(run, sample) === key);
}

const lengths = (value) => value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

function depthBar(sample) {
  const [near, far] = sample.range;
  const ends = [near, Math.sqrt(near * far), far].map((value) => element("span", {textContent: lengths(value)}));
  ends[2].textContent += " " + sample.unit.split(",")[0];
  return [element("div", {class: "bar", style: `background:linear-gradient(to right,${REPORT.magma.slice().reverse().join(",")})`}), element("div", {class: "bar-ends"}, ...ends)];
}

function errorBar() {
  const limit = `${Math.round(REPORT.max_relative * 100)} %`;
  const ends = ["−" + limit + " too near", "0", "too far +" + limit].map((text) => element("span", {textContent: text}));
  return [element("div", {class: "bar", style: "background:linear-gradient(to right,rgb(13,51,204),#fff,rgb(204,13,13))"}), element("div", {class: "bar-ends"}, ...ends)];
}

function figure(title, key, bar = []) {
  return element("figure", {}, element("figcaption", {textContent: title}), element("img", {src: asset(key), alt: title}), ...bar);
}

function card(title, colour, ...content) {
  const head = element("h3", {}, title);
  if (colour) head.prepend(element("span", {class: "swatch", style: "background:" + colour}));
  return element("div", {class: "card"}, head, ...content);
}

function fillSamples() {
  const counts = new Map();
  for (const index of chosen.keys()) for (const sample of samplesOf(RUNS[index])) counts.set(sampleKey(RUNS[index], sample), (counts.get(sampleKey(RUNS[index], sample)) || 0) + 1);
  fillSelect($("sample"), [...counts].map(([key, count]) => [key, `${key} (${count} ${count === 1 ? "run" : "runs"})`]));
}

function drawSamples() {
  const key = $("sample").value;
  const cards = [];
  for (const [index, colour] of chosen) {
    const sample = sampleIn(RUNS[index], key);
    if (!sample) continue;
    if (!cards.length) {
      const input = [figure("image", sample.image)];
      if (sample.truth) input.push(figure("ground truth", sample.truth, depthBar(sample)));
      const truth = sample.panels.find(([title]) => title === "ground truth");
      if (truth) input.push(figure("ground truth: masks and boxes", truth[1]));
      cards.push(card("Input", null, element("div", {class: "hint", textContent: sample.name}), ...input));
    }
    const scores = Object.entries(sample.scores).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
    const content = [element("div", {class: "hint", textContent: `step ${sample.step}, ${sample.stage}${scores ? "; " + scores : ""}`})];
    if (sample.before) content.push(figure("before consistency training", sample.before, depthBar(sample)));
    if (sample.prediction) content.push(figure(`prediction (${sample.unit})`, sample.prediction, depthBar(sample)));
    if (sample.error) content.push(figure("relative error", sample.error, errorBar()));
    for (const [title, picture] of sample.panels) {
      if (title !== "ground truth") content.push(figure(title === "prediction" ? "prediction: masks and boxes" : title, picture));
    }
    if (sample.panels.some(([title]) => title.startsWith("from "))) content.push(element("div", {class: "hint", textContent: "Sections: ground truth green, prediction orange."}));
    cards.push(card(RUNS[index].name, colour, ...content));
  }
  if (!cards.length) cards.push(element("p", {class: "hint", textContent: chosen.size ? "No chosen run keeps samples." : "No run is chosen."}));
  $("sample-cards").replaceChildren(...cards);
  const pictures = [...chosen].filter(([index]) => !RUNS[index].samples && RUNS[index].pictures.length);
  $("pictures").replaceChildren(...pictures.map(([index, colour]) => {
    const made = card(RUNS[index].name, colour, element("div", {class: "hint", textContent: "This run keeps no samples; these are its last pictures."}), ...RUNS[index].pictures.map((each) => figure(each.name, each.picture)));
    made.classList.add("wide");
    return made;
  }));
}

function startSamples() {
  const update = () => { fillSamples(); drawSamples(); };
  $("sample").addEventListener("change", drawSamples);
  onChoice(update);
  update();
}
