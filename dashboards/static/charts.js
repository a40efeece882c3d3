// Draws every .chart of the page with Plotly, in the colours of the style sheet.
"use strict";

(function () {
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B8000", "#888888"];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function draw(element) {
    const figure = JSON.parse(element.dataset.figure);
    const narrow = element.clientWidth < 560;
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true };
    const layout = {
      colorway: COLOURS,
      font: { color: colour("--text"), family: "system-ui, sans-serif", size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      height: narrow ? 380 : 360,
      margin: { l: 60, r: 16, t: 16, b: 48 },
      barmode: "group",
      showlegend: true,
      legend: narrow ? { orientation: "h", y: -0.3, font: { size: 11 } } : { x: 1.01, y: 1 },
      xaxis: Object.assign({}, axis, figure.layout.xaxis),
      yaxis: Object.assign({}, axis, figure.layout.yaxis),
    };
    Plotly.react(element, figure.data, layout, { displayModeBar: false, responsive: true });
    element.dataset.drawn = "true";
  }

  function drawAll() {
    document.querySelectorAll(".chart").forEach(draw);
  }

  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
