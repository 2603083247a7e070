"use strict";
// The table is drawn before the plots' library is read, so that it can be used at once.
(() => {
  const papers = new Set(RUNS.map((run) => run.paper).filter(Boolean)).size;
  $("summary").textContent = `${RUNS.length} ${RUNS.length === 1 ? "run" : "runs"} of ${papers} ${papers === 1 ? "paper" : "papers"}, made ${REPORT.made}.`;
  $("notes").hidden = !REPORT.notes.length;
  $("notes").querySelector("summary").textContent = `${REPORT.notes.length} ${REPORT.notes.length === 1 ? "note" : "notes"} on runs that are left out, incomplete or damaged`;
  $("notes").querySelector("ul").replaceChildren(...REPORT.notes.map((note) => element("li", {textContent: note})));
  for (const index of REPORT.chosen_first) chosen.set(index, freeColour());
  startTable();
  startSettings();
  startSeeds();
})();

function startPlots() {
  startCurves();
  startSamples();
  startClouds();
  document.body.dataset.ready = String(Math.round(performance.now())); // milliseconds since the page was opened
}
