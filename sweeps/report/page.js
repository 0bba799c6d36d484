// Draws every figure in the page's colours, and shows one trial in all of them.
"use strict";
(() => {
  const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const holders = [...document.querySelectorAll("script[data-plot]")];
  const rows = [...document.querySelectorAll("tr[data-trial]")];
  let selected = null;

  function colours(plot) {
    const of = getComputedStyle(document.documentElement);
    const [ink, line, paper] = ["--ink", "--line", "--paper"].map((n) => of.getPropertyValue(n).trim());
    const axis = (name) => ({
      [`${name}.gridcolor`]: line, [`${name}.linecolor`]: line, [`${name}.zerolinecolor`]: line,
    });
    return {
      "font.color": ink, "font.family": "system-ui, sans-serif", "font.size": 13,
      "hoverlabel.bgcolor": paper, "hoverlabel.font.color": ink, "hoverlabel.bordercolor": line,
      ...axis("xaxis"), ...axis("yaxis"),
      ...Object.fromEntries(
        (plot.layout.annotations ?? []).map((_, at) => [`annotations[${at}].bgcolor`, paper])),
    };
  }

  const trialsOf = (trace) => (Array.isArray(trace.customdata) ? trace.customdata : []);

  // A line belongs to one trial and fades; a cloud of points has one selected in it.
  function show(plot, trial) {
    const lines = [], opacities = [];
    plot.data.forEach((trace, index) => {
      if (typeof trace.meta !== "string") return;
      lines.push(index);
      opacities.push(trial === null ? plot.opacities[index] : trace.meta === trial ? 1 : 0.07);
    });
    if (lines.length) Plotly.restyle(plot, { opacity: opacities }, lines);
    const clouds = [], chosen = [];
    plot.data.forEach((trace, index) => {
      const trials = trialsOf(trace);
      if (!trials.length) return;
      clouds.push(index);
      const found = trials.flatMap((each, at) => (each === trial ? [at] : []));
      chosen.push(trial === null ? null : found);
    });
    if (clouds.length) Plotly.restyle(plot, { selectedpoints: chosen }, clouds);
  }

  function select(trial) {
    selected = trial === selected ? null : trial;
    rows.forEach((row) => row.classList.toggle("selected", row.dataset.trial === selected));
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => show(plot, selected));
  }

  function draw(holder) {
    const plot = document.getElementById(holder.dataset.plot);
    const figure = JSON.parse(holder.textContent);
    return Plotly.newPlot(plot, figure.data, figure.layout, config).then(() => {
      plot.opacities = plot.data.map((trace) => trace.opacity ?? 1);
      plot.on("plotly_click", ({ points: [point] }) => {
        const trial = typeof point.data.meta === "string" ? point.data.meta : point.customdata;
        if (trial) select(trial);
      });
      return Plotly.relayout(plot, colours(plot));
    });
  }

  rows.forEach((row) => {
    row.addEventListener("click", () => select(row.dataset.trial));
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") select(row.dataset.trial);
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected !== null) select(selected);
  });
  dark.addEventListener("change", () =>
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, colours(plot))));
  Promise.all(holders.map(draw)).then(() => { document.documentElement.dataset.drawn = "yes"; });
})();
