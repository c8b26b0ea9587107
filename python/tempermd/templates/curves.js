  const panels = [
    ["temperature", "Temperature (K), with its target and the 6 σ band"],
    ["potential_energy", "Potential energy above the start (eV/atom)"],
    ["conserved_energy", "Conserved energy by stage (eV/atom)"],
    ["shortest_distance", "Shortest distance between two atoms (Å)"],
    ["ellipticity", "Ellipticity of the flattest wall"],
    ["deviation", "Largest committee deviation of a force (eV/Å)"],
  ];

  // One exploding value would flatten all the rest: such a panel ends at a sane limit.
  function limits(name, series) {
    const values = series[name].value.filter(value => value !== null);
    if (!values.length) return null;
    let low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    if (name === "temperature") {
      const band = (series.band_high || {value: []}).value.reduce((a, b) => Math.max(a, b), 0);
      high = Math.min(Math.max(high, band), band ? 2.5 * band : high);
      low = 0;
    } else if (name.endsWith("_energy")) {
      low = Math.max(low, -2); high = Math.min(high, 3);
    }
    const margin = 0.06 * (high - low) || 0.01;
    return [low - (name === "temperature" ? 0 : margin), high + margin];
  }

  function traces(run, panel, axis) {
    const series = run.series, list = [];
    const curve = (name, extra) => list.push(Object.assign({
      x: series[name].time_ps, y: series[name].value, yaxis: axis, xaxis: "x", mode: "lines",
      hovertemplate: "%{y:.4g} " + series[name].unit + "<extra></extra>",
      line: {color: color("--curve"), width: 1.3},
    }, extra));
    if (panel === "temperature" && series.band_low) {
      curve("band_low", {line: {width: 0}, hoverinfo: "skip", hovertemplate: null});
      curve("band_high", {line: {width: 0}, fill: "tonexty", fillcolor: color("--band"),
        hoverinfo: "skip", hovertemplate: null});
      curve("target", {line: {color: color("--target"), width: 1, dash: "dot"},
        hovertemplate: "target %{y:.0f} K<extra></extra>"});
    }
    curve(panel);
    return list;
  }

  const LABEL_ROWS = 5;  // labels of events close in time must not lie on each other

  function marks(run) {
    const shapes = [], labels = [], seen = new Set();
    const end = Object.values(run.series).reduce(
      (a, series) => Math.max(a, series.time_ps[series.time_ps.length - 1] || 0), 0);
    for (const mark of run.marks) {
      const shade = color(mark.severity === "warn" ? "--warn" : "--fail");
      shapes.push({type: "line", xref: "x", yref: "paper", x0: mark.time, x1: mark.time,
        y0: 0, y1: 1, line: {color: shade, width: 1}});
      if (seen.has(mark.text)) continue;
      seen.add(mark.text);
      labels.push({x: mark.time, xref: "x", y: 1, yref: "paper", yanchor: "bottom",
        yshift: 20 + 14 * (labels.length % LABEL_ROWS), xanchor: mark.time > 0.8 * end ? "right" : "left", text: mark.text, showarrow: false,
        font: {color: shade, size: 11}});
    }
    return {shapes, labels};
  }

  async function curvesOf(number) {
    if (typeof runs[number] !== "string") return runs[number];
    const run = await unpacked(runs[number]).json();
    for (const series of Object.values(run.series)) {
      let at = 0;
      series.time_ps = series.moves.map(move => series.low + series.step * (at += move));
    }
    return runs[number] = run;
  }

  async function drawRun(number) {
    const place = document.getElementById("chart-" + number);
    let run = null;
    if (!place) return;
    try { run = await curvesOf(number); await loadPlotly(); } catch (error) {
      place.style.height = "auto";
      place.textContent = "The curves need a browser of 2023 or later.";
      return;
    }
    const shown = panels.filter(([name]) => run.series[name] && limits(name, run.series));
    const gap = 0.075, height = (1 - gap * (shown.length - 1)) / shown.length;
    const {shapes, labels} = marks(run);
    const axis = {color: color("--soft"), gridcolor: color("--line"), zeroline: false,
      linecolor: color("--line"), automargin: true, tickfont: {size: 11}, exponentformat: "e"};
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      margin: {l: 60, r: 8, t: labels.length ? 34 + 14 * Math.min(labels.length, LABEL_ROWS) : 24, b: 40}, hovermode: "x",
      font: {family: getComputedStyle(document.body).fontFamily, color: color("--ink"), size: 12},
      xaxis: Object.assign({}, axis, {title: {text: "time (ps)", font: {size: 12}}, anchor: "free",
        position: 0}),
      shapes, annotations: labels,
    };
    const data = [];
    shown.forEach(([name, title], index) => {
      const id = index ? "y" + (index + 1) : "y", top = 1 - index * (height + gap);
      layout[id.replace("y", "yaxis")] = Object.assign({}, axis, {
        domain: [Math.max(0, top - height), top], range: limits(name, run.series), nticks: 5,
        anchor: "x"});
      labels.push({x: 0, xref: "paper", xanchor: "left", y: top, yref: "paper", yanchor: "bottom",
        text: title, showarrow: false, font: {size: 12}});
      data.push(...traces(run, name, id));
    });
    await Plotly.react(place, data, layout, {displaylogo: false, responsive: true,
      displayModeBar: false});
    place.dataset.drawn = "yes";
  }
