"use strict";
// The page of one image: its cloud, the size of its points and a view from the camera.

const CLOUD = JSON.parse(document.getElementById("report").textContent);
const asset = (key) => document.getElementById("a-" + key).textContent;

const grid = JSON.parse(asset(CLOUD.cloud.grids.prediction));
const points = pointsOf(grid, bytes(asset(CLOUD.cloud.colours)));
const plot = document.getElementById("cloud-plot");

document.title = `${CLOUD.name}: point cloud`;
document.getElementById("name").textContent = CLOUD.name;
document.getElementById("hint").textContent = `${points.x.length} points: drag to turn, wheel to zoom, right button to move.`;

const layout = {margin: {l: 0, r: 0, t: 0, b: 0}, showlegend: false, scene: sceneOf(rangesOf([points]), CLOUD.unit)};
const size = document.getElementById("size");
Plotly.newPlot(plot, [markersOf(points, Number(size.value))], layout, {responsive: true, displaylogo: false}).then(() => {
  document.body.dataset.drawn = points.x.length;
});
size.addEventListener("input", () => Plotly.restyle(plot, {"marker.size": Number(size.value)}));
document.getElementById("camera").addEventListener("click", () => Plotly.relayout(plot, {"scene.camera": {eye: {x: 0, y: -1.6, z: 0}, up: {x: 0, y: 0, z: 1}}}));
