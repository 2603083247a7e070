"use strict";
const PLAIN_COLUMNS = [
  ["name", "run"], ["status", "status"], ["paper", "paper"], ["data", "data"], ["seed", "seed"], ["tags", "tags"],
];
const LAST_COLUMNS = [["parameters", "parameters"], ["steps", "steps"], ["minutes", "minutes"], ["memory", "GB"], ["gpu_memory", "GPU GB"], ["commit", "commit"], ["started", "started"]];
const sorting = {key: null, down: false};

function valueOf(run, key) {
  return key.startsWith("metric ") ? run[$("stage").value][key.slice(7)] : run[key];
}

// A filter is a list of words; a word such as abs_rel_img<0.2 compares a metric or a column, other words must occur.
function matches(run, text) {
  const haystack = [["experiment"], ...PLAIN_COLUMNS].map(([key]) => run[key] ?? "").join(" ").toLowerCase() + " " + (run.commit || "");
  return text.split(/\s+/).filter(Boolean).every((word) => {
    const test = word.match(/^([\w.]+)(<=|>=|<|>|=)(.+)$/);
    if (!test) return haystack.includes(word.toLowerCase());
    const [, name, sign, wanted] = test;
    const value = run[$("stage").value][name] ?? run[name];
    if (value === undefined || value === null) return false;
    if (sign === "=") return String(value).toLowerCase() === wanted.toLowerCase();
    const limit = Number(wanted);
    return {"<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit}[sign];
  });
}

function shownRuns() {
  const wanted = ["paper", "data", "status"].map((key) => [key, $(key).value]);
  const found = RUNS.filter((run) => wanted.every(([key, value]) => value === "*" || run[key] === value) && matches(run, $("filter").value));
  if (sorting.key) {
    const worst = (value) => value === undefined || value === null || value === "";
    found.sort((a, b) => {
      const [x, y] = [valueOf(a, sorting.key), valueOf(b, sorting.key)];
      if (worst(x) || worst(y)) return worst(x) - worst(y); // blanks come last in both directions
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true});
      return sorting.down ? -order : order;
    });
  }
  return found;
}

// The best value of a metric among the shown runs of the same data, where at least two of them have it.
function bestRuns(runs, key) {
  const direction = REPORT.directions[key.slice(7)];
  if (!direction || direction === "none") return new Set();
  const best = new Map();
  for (const run of runs) {
    const value = valueOf(run, key);
    if (typeof value !== "number") continue;
    const entry = best.get(run.data) || {value: Infinity, runs: [], count: 0};
    const size = distance(value, direction);
    entry.count += 1;
    if (size < entry.value) Object.assign(entry, {value: size, runs: [run]}); else if (size === entry.value) entry.runs.push(run);
    best.set(run.data, entry);
  }
  return new Set([...best.values()].filter((entry) => entry.count > 1).flatMap((entry) => entry.runs));
}

function drawTable() {
  const runs = shownRuns();
  const has = ([key]) => key === "name" || runs.some((run) => valueOf(run, key) !== "" && valueOf(run, key) !== null && valueOf(run, key) !== undefined);
  const metrics = metricColumns(runs, $("stage").value, $("all-metrics").checked).map((name) => ["metric " + name, name]);
  const columns = [...PLAIN_COLUMNS, ...metrics, ...LAST_COLUMNS].filter(has);
  const numeric = new Set(columns.map(([key]) => key).filter((key) => runs.some((run) => typeof valueOf(run, key) === "number")));
  const best = new Map(metrics.map(([key]) => [key, bestRuns(runs, key)]));
  const arrow = (key) => key === sorting.key ? (sorting.down ? " ▼" : " ▲") : "";
  $("table").tHead.replaceChildren(element("tr", {}, ...columns.map(([key, title]) => {
    const cell = element("th", {textContent: title + arrow(key), class: numeric.has(key) ? "number" : ""});
    cell.dataset.key = key;
    const direction = REPORT.directions[key.slice(7)];
    if (key.startsWith("metric ")) cell.title = {low: "lower is better", high: "higher is better", zero: "best at 0"}[direction] || "";
    return cell;
  })));
  $("table").tBodies[0].replaceChildren(...runs.map((run) => {
    const colour = chosen.get(run.index);
    const row = element("tr", {class: colour ? "chosen" : ""}, ...columns.map(([key]) => {
      const value = valueOf(run, key);
      const cell = element("td", {class: [numeric.has(key) ? "number" : "", best.get(key)?.has(run) ? "best" : ""].join(" ").trim()});
      if (key === "name") cell.append(element("span", {class: "swatch", style: colour ? "background:" + colour : ""}));
      if (key === "status") cell.className = "status-" + value.split(" ")[0];
      cell.append(key === "minutes" || key === "memory" || key === "gpu_memory" ? (typeof value === "number" ? value.toFixed(1) : "") : shown(value));
      if (key === "status" && run.problems.length) cell.title = run.problems.join("\n");
      return cell;
    }));
    row.dataset.index = run.index;
    return row;
  }));
  $("table-hint").textContent = `${runs.length} of ${RUNS.length} runs shown, ${chosen.size} chosen. Green: best of the shown runs on the same data.`;
}

function markChosen() { // without drawing 500 rows again
  for (const row of $("table").tBodies[0].rows) {
    const colour = chosen.get(Number(row.dataset.index));
    row.className = colour ? "chosen" : "";
    row.querySelector(".swatch").style.background = colour || "";
  }
  $("table-hint").textContent = $("table-hint").textContent.replace(/\d+ chosen/, chosen.size + " chosen");
}

function startTable() {
  for (const key of ["paper", "data", "status"]) {
    fillSelect($(key), [["*", "all"], ...[...new Set(RUNS.map((run) => run[key]))].sort().map((value) => [value, value || "(unknown)"])]);
  }
  for (const id of ["paper", "data", "status", "stage", "all-metrics"]) $(id).addEventListener("change", drawTable);
  $("filter").addEventListener("input", drawTable);
  $("table").tHead.addEventListener("click", (event) => {
    const key = event.target.closest("th")?.dataset.key;
    if (!key) return;
    sorting.down = sorting.key === key ? !sorting.down : false;
    sorting.key = key;
    drawTable();
  });
  $("table").tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !String(getSelection())) choose([Number(row.dataset.index)], !chosen.has(Number(row.dataset.index)));
  });
  $("choose-shown").addEventListener("click", () => choose(shownRuns().map((run) => run.index).slice(0, 30), true));
  $("choose-none").addEventListener("click", () => choose([...chosen.keys()], false));
  onChoice(markChosen);
  drawTable();
}
