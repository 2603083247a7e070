"use strict";
const curveCache = new Map();

function curvesOf(run) {
  if (!run.curves) return {};
  if (!curveCache.has(run.index)) curveCache.set(run.index, JSON.parse(asset(run.curves)));
  return curveCache.get(run.index);
}

// Exponential mean, corrected for its beginning; gaps stay gaps.
function smoothed(values, weight) {
  let mean = 0, total = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return mean / total;
  });
}

function fillMetrics() {
  const counts = new Map();
  for (const index of chosen.keys()) for (const name of Object.keys(curvesOf(RUNS[index]))) counts.set(name, (counts.get(name) || 0) + 1);
  const first = ["val/score", "train/loss"];
  const rank = (name) => first.includes(name) ? first.indexOf(name) : first.length + (name.startsWith("val/") ? 0 : 1);
  const names = [...counts.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  fillSelect($("metric"), names.map((name) => [name, counts.get(name) === chosen.size ? name : `${name} (${counts.get(name)} of ${chosen.size})`]));
}

function drawCurves() {
  const metric = $("metric").value;
  const weight = Number($("smoothing").value);
  $("smoothing-value").textContent = weight.toFixed(2);
  const traces = [];
  for (const [index, colour] of chosen) {
    const curve = curvesOf(RUNS[index])[metric];
    if (!curve) continue;
    const base = {x: curve[0], mode: curve[0].length < 40 ? "lines+markers" : "lines", name: RUNS[index].name, type: "scatter", marker: {size: 5}};
    const raw = {...base, y: curve[1], line: {color: colour, width: weight ? 1 : 2}, opacity: weight ? 0.25 : 1, showlegend: !weight};
    traces.push(raw);
    if (weight) traces.push({...base, mode: "lines", y: smoothed(curve[1], weight), line: {color: colour, width: 2.2}});
  }
  const n = traces.filter((trace) => trace.showlegend !== false).length;
  $("curve-hint").textContent = !chosen.size ? "No run is chosen." : n < chosen.size ? `${chosen.size - n} of the chosen runs have no such curve.` : "";
  $("curve-plot").classList.toggle("empty", !traces.length);
  if (!traces.length) { Plotly.purge("curve-plot"); return; }
  Plotly.react("curve-plot", traces, {
    margin: {l: 70, r: 20, t: 12, b: 46}, hovermode: "closest", uirevision: metric + $("axis").value,
    xaxis: {title: {text: "step"}}, yaxis: {title: {text: metric}, type: $("axis").value}, showlegend: true, legend: {orientation: "h", y: -0.18},
  }, {responsive: true, displaylogo: false});
}

function startCurves() {
  for (const id of ["metric", "axis"]) $(id).addEventListener("change", drawCurves);
  $("smoothing").addEventListener("input", drawCurves);
  const update = () => { fillMetrics(); drawCurves(); };
  onChoice(update);
  update();
}
