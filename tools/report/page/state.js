"use strict";
// The content of the report and which runs are chosen. Texts of runs are only ever set as text, never as HTML.
const REPORT = JSON.parse(document.getElementById("report").textContent);
const RUNS = REPORT.runs;
const COLOURS = ["#0b5cad", "#d1601e", "#1f8a4c", "#b3261e", "#6f42c1", "#7a5230", "#c2388f", "#5b6470", "#8a8f00", "#0e8fa3"];
const chosen = new Map(); // position of a run -> its colour, in the order in which they were chosen
const listeners = [];
const $ = (id) => document.getElementById(id);

function asset(key) {
  return document.getElementById("a-" + key).textContent;
}

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value; else if (key === "style") made.style.cssText = value; else made[key] = value;
  }
  made.append(...children);
  return made;
}

function fillSelect(select, options, kept) {
  const before = kept === undefined ? select.value : kept;
  select.replaceChildren(...options.map(([value, text]) => element("option", {value: String(value), textContent: text})));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

function freeColour() {
  const used = new Set(chosen.values());
  return COLOURS.find((colour) => !used.has(colour)) || COLOURS[chosen.size % COLOURS.length];
}

function choose(indices, on) {
  for (const index of indices) {
    if (!on) chosen.delete(index); else if (!chosen.has(index)) chosen.set(index, freeColour());
  }
  for (const listener of listeners) listener();
}

function onChoice(listener) {
  listeners.push(listener);
}

function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US").replace(/,/g, "\u202f");
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : value.toFixed(size >= 100 ? 1 : 4);
}

function distance(value, direction) { // the smaller, the better
  return direction === "high" ? -value : direction === "zero" ? Math.abs(value) : value;
}

function metricColumns(runs, stage, all) {
  const measured = new Set(runs.flatMap((run) => Object.keys(run[stage])));
  const main = REPORT.main_metrics.filter((name) => measured.has(name));
  if (!all && main.length) return main;
  return [...main, ...REPORT.metrics.filter((name) => measured.has(name) && !main.includes(name))];
}
