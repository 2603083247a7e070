"use strict";
const CLOUD_TITLES = {truth: "ground truth", before: "before", prediction: "prediction"};
let cloudTurning = false;

function fillCloudRuns() {
  const key = $("sample").value;
  const able = [...chosen.keys()].filter((index) => sampleIn(RUNS[index], key)?.cloud);
  fillSelect($("cloud-run"), able.map((index) => [index, RUNS[index].name]));
}

function drawClouds() {
  const run = RUNS[Number($("cloud-run").value)];
  const sample = $("cloud-run").value !== "" && sampleIn(run, $("sample").value);
  $("cloud-plot").classList.toggle("empty", !sample);
  if (!sample) {
    $("cloud-hint").textContent = "No chosen run has depth and intrinsics for the sample that is chosen above.";
    Plotly.purge("cloud-plot");
    return;
  }
  const names = Object.keys(CLOUD_TITLES).filter((name) => sample.cloud.grids[name]);
  const colours = sample.cloud.colours ? bytes(asset(sample.cloud.colours)) : null;
  const traces = [], annotations = [];
  const layout = {margin: {l: 0, r: 0, t: 26, b: 0}, showlegend: false};
  const clouds = names.map((name) => pointsOf(JSON.parse(asset(sample.cloud.grids[name])), colours));
  const range = rangesOf(clouds); // of all views
  names.forEach((name, position) => {
    const points = clouds[position];
    const scene = "scene" + (position ? position + 1 : "");
    traces.push({...markersOf(points, 2.4), scene});
    const [left, right] = [position / names.length, (position + 1) / names.length];
    layout[scene] = {domain: {x: [left + 0.005, right - 0.005], y: [0, 1]}, ...sceneOf(range, "m")};
    const after = name === "prediction" && names.includes("before") ? "after" : CLOUD_TITLES[name];
    annotations.push({text: after, x: left + 0.01, y: 1, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false});
  });
  layout.annotations = annotations;
  $("cloud-hint").textContent = `${sample.name}, ${sample.unit}: drag to turn, wheel to zoom; all views turn together.`;
  Plotly.react("cloud-plot", traces, layout, {responsive: true, displaylogo: false}).then((plot) => {
    plot.removeAllListeners("plotly_relayout");
    plot.on("plotly_relayout", (change) => turnTogether(plot, names.length, change));
  });
}

function turnTogether(plot, count, change) {
  const key = Object.keys(change).find((name) => name.endsWith(".camera"));
  if (!key || cloudTurning) return;
  const others = {};
  for (let position = 0; position < count; position++) {
    const name = "scene" + (position ? position + 1 : "") + ".camera";
    if (name !== key) others[name] = change[key];
  }
  cloudTurning = true;
  Plotly.relayout(plot, others).finally(() => { cloudTurning = false; });
}

function startClouds() {
  let seen = false; // drawn when it is seen: a graphics context takes long to begin
  const update = () => { fillCloudRuns(); if (seen) drawClouds(); };
  $("cloud-run").addEventListener("change", drawClouds);
  $("sample").addEventListener("change", update);
  onChoice(update);
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watcher.disconnect(); seen = true; update(); }
  }, {rootMargin: "200px"});
  watcher.observe($("clouds"));
}
