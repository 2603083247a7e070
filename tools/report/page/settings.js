"use strict";
function settingOf(index, key) {
  const position = REPORT.settings.runs[index][key];
  return position < 0 ? null : REPORT.settings.values[position];
}

function drawSettings() {
  const [a, b] = [Number($("settings-a").value), Number($("settings-b").value)];
  const rows = [];
  REPORT.settings.keys.forEach((name, key) => {
    const [x, y] = [settingOf(a, key), settingOf(b, key)];
    if (x !== y) rows.push(element("tr", {}, element("td", {textContent: name}), ...[x, y].map((value) => element("td", {class: "value", textContent: value === null ? "—" : value}))));
  });
  $("settings-table").tHead.replaceChildren(element("tr", {}, ...["setting", RUNS[a].name, RUNS[b].name].map((text) => element("th", {textContent: text}))));
  $("settings-table").tBodies[0].replaceChildren(...rows);
  const blank = [a, b].filter((index) => REPORT.settings.runs[index].every((position) => position < 0)).map((index) => RUNS[index].name);
  $("settings-hint").textContent = blank.length ? `There is no configuration of ${blank.join(" and ")}.` : `${rows.length} settings differ.`;
}

function startSettings() {
  const options = RUNS.map((run) => [run.index, run.name]);
  fillSelect($("settings-a"), options, "0");
  fillSelect($("settings-b"), options, String(Math.min(1, RUNS.length - 1)));
  for (const id of ["settings-a", "settings-b"]) $(id).addEventListener("change", drawSettings);
  onChoice(() => { // the last two that were chosen
    const last = [...chosen.keys()].slice(-2);
    if (last.length === 2) { $("settings-a").value = last[0]; $("settings-b").value = last[1]; drawSettings(); }
  });
  drawSettings();
}
