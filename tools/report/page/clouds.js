"use strict";
const CLOUD_TITLES = {truth: "ground truth", before: "before", prediction: "prediction"};
let cloudTurning = false;

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Points of a grid of depth: x to the right, z away from the camera, y upwards.
function pointsOf(grid, colours) {
  const raw = bytes(grid.levels);
  const levels = new Uint16Array(raw.buffer);
  const [fx, fy, cx, cy] = grid.K;
  const points = {x: [], y: [], z: [], colour: []};
  for (let row = 0; row < grid.h; row++) {
    for (let column = 0; column < grid.w; column++) {
      const at = row * grid.w + column;
      if (!levels[at]) continue;
      const depth = grid.near * Math.pow(grid.far / grid.near, (levels[at] - 1) / 65534);
      points.x.push((column * grid.step + grid.first - cx) / fx * depth);
      points.y.push(depth);
      points.z.push(-(row * grid.step + grid.first - cy) / fy * depth);
      points.colour.push(colours ? `rgb(${colours[3 * at]},${colours[3 * at + 1]},${colours[3 * at + 2]})` : depth);
    }
  }
  return points;
}

function extent(lists) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) for (const value of list) { if (value < low) low = value; if (value > high) high = value; }
  const margin = 0.03 * (high - low) + 0.01;
  return [low - margin, high + margin];
}

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
  const range = Object.fromEntries(["x", "y", "z"].map((axis) => [axis, extent(clouds.map((points) => points[axis]))])); // of all views
  names.forEach((name, position) => {
    const points = clouds[position];
    const scene = "scene" + (position ? position + 1 : "");
    traces.push({type: "scatter3d", mode: "markers", x: points.x, y: points.y, z: points.z, scene, hoverinfo: "x+y+z", marker: {size: 2.4, color: points.colour, line: {width: 0}}});
    const [left, right] = [position / names.length, (position + 1) / names.length];
    const axis = (title, key) => ({title: {text: title}, range: range[key], showspikes: false, backgroundcolor: "#f5f6f8", showbackground: true});
    layout[scene] = {domain: {x: [left + 0.005, right - 0.005], y: [0, 1]}, aspectmode: "data", xaxis: axis("x (m)", "x"), yaxis: axis("depth (m)", "y"), zaxis: axis("height (m)", "z"), camera: {eye: {x: 0.5, y: -2, z: 0.8}, up: {x: 0, y: 0, z: 1}}};
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
