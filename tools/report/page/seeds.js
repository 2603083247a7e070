"use strict";
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values) {
  const centre = mean(values);
  const found = Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
  return found < 1e-12 * Math.abs(centre) ? 0 : found; // equal values up to rounding
}

// Mean of paired differences with its t interval; null ends for a single difference.
function pairedInterval(differences) {
  const n = differences.length;
  const centre = mean(differences);
  if (n < 2) return [centre, null, null];
  const half = REPORT.t_quantiles[Math.min(n - 1, REPORT.t_quantiles.length) - 1] * deviation(differences) / Math.sqrt(n);
  return [centre, centre - half, centre + half];
}

function valuesBySeed(group, stage, metric) {
  const found = new Map();
  for (const index of group.members) {
    const value = RUNS[index][stage][metric];
    if (typeof value === "number") found.set(RUNS[index].seed, value);
  }
  return found;
}

function signed(value) {
  return (value < 0 ? "−" : "+") + shown(Math.abs(value));
}

function drawSeeds() {
  const stage = $("stage").value;
  const groups = REPORT.groups;
  const baseline = groups[Number($("baseline").value)];
  const metrics = metricColumns(groups.flatMap((group) => group.members.map((index) => RUNS[index])), stage, false);
  $("seeds-table").tHead.replaceChildren(element("tr", {}, ...["variant", "seeds", ...metrics].map((text, k) => element("th", {textContent: text, class: k > 1 ? "number" : ""}))));
  $("seeds-table").tBodies[0].replaceChildren(...groups.map((group) => {
    const cells = metrics.map((metric) => {
      const ours = valuesBySeed(group, stage, metric);
      const cell = element("td", {class: "number"});
      if (!ours.size) return cell;
      const values = [...ours.values()];
      cell.append(shown(mean(values)) + (values.length > 1 ? " ± " + shown(deviation(values)) : ""));
      const sameData = baseline && group !== baseline && RUNS[group.members[0]].data === RUNS[baseline.members[0]].data;
      const theirs = sameData ? valuesBySeed(baseline, stage, metric) : new Map();
      const paired = [...ours].filter(([seed]) => theirs.has(seed)).map(([seed, value]) => value - theirs.get(seed));
      if (paired.length) {
        const [centre, low, high] = pairedInterval(paired);
        const text = signed(centre) + (low === null ? "" : ` [${signed(low)}, ${signed(high)}]`);
        cell.append(element("br"), element(low !== null && (low > 0 || high < 0) ? "b" : "span", {class: "hint", textContent: text}));
      }
      return cell;
    });
    const seeds = group.members.map((index) => RUNS[index].seed).join(", ");
    return element("tr", {}, element("td", {textContent: group.name}), element("td", {textContent: seeds}), ...cells);
  }));
  $("seeds-hint").textContent = groups.length ? "" : "No finished run has settings and a result.";
}

function startSeeds() {
  const sizes = REPORT.groups.map((group) => group.members.length);
  const largest = sizes.indexOf(Math.max(...sizes));
  fillSelect($("baseline"), REPORT.groups.map((group, position) => [position, group.name]), String(largest));
  $("baseline").addEventListener("change", drawSeeds);
  $("stage").addEventListener("change", drawSeeds);
  drawSeeds();
}
