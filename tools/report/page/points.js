"use strict";
// Points of clouds, shared by the report and the page of one image.

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

function rangesOf(clouds) {
  return Object.fromEntries(["x", "y", "z"].map((axis) => [axis, extent(clouds.map((points) => points[axis]))]));
}

function markersOf(points, size) {
  return {type: "scatter3d", mode: "markers", x: points.x, y: points.y, z: points.z, hoverinfo: "x+y+z", marker: {size, color: points.colour, line: {width: 0}}};
}

// Axes and the first view: from behind the camera, from above and a little to the side.
function sceneOf(range, unit) {
  const axis = (title, key) => ({title: {text: `${title} (${unit})`}, range: range[key], showspikes: false, backgroundcolor: "#f5f6f8", showbackground: true});
  return {aspectmode: "data", xaxis: axis("x", "x"), yaxis: axis("depth", "y"), zaxis: axis("height", "z"), camera: {eye: {x: 0.5, y: -2, z: 0.8}, up: {x: 0, y: 0, z: 1}}};
}
