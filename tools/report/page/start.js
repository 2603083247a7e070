"use strict";
// All but the plots is drawn and shown before the plots' library is read, so that it can be used at once.
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
  startSamples();
})();

function startPlots() {
  const now = () => String(Math.round(performance.now())); // milliseconds since the page was opened
  requestAnimationFrame(() => setTimeout(() => { // the page has been shown
    document.body.dataset.usable = now();
    document.head.append(element("script", {textContent: $("plotly").textContent}));
    startCurves();
    startClouds();
    document.body.dataset.ready = now();
  }));
}
