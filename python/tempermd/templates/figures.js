  const isPlain = value => value && typeof value === "object" && !Array.isArray(value);
  const merged = (base, over) => {
    const out = Object.assign({}, base);
    for (const [key, value] of Object.entries(over))
      out[key] = isPlain(value) && isPlain(out[key]) ? merged(out[key], value) : value;
    return out;
  };

  function layoutOf(figure) {
    const axis = {color: color("--soft"), gridcolor: color("--line"), zeroline: false,
      linecolor: color("--line"), automargin: true, tickfont: {size: 11}, title: {font: {size: 12}}};
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      colorway: [color("--curve"), "#c2703d", "#4f9a6b", "#9673b9", "#b8577a", "#8a8f3c", "#5aa5b5", "#7d6a5a"],
      margin: {l: 56, r: 8, t: 10, b: 44}, legend: {orientation: "h", yanchor: "top", y: -0.2},
      font: {family: getComputedStyle(document.body).fontFamily, color: color("--ink"), size: 12},
    };
    const layout = merged(base, figure.layout);
    const axes = new Set(["xaxis", "yaxis"]);
    for (const key of Object.keys(figure.layout)) if (/^[xy]axis\d*$/.test(key)) axes.add(key);
    for (const key of axes) layout[key] = merged(axis, figure.layout[key] || {});
    return layout;
  }

  async function draw(place) {
    try { await loadPlotly(); } catch (error) {
      place.style.height = "auto";
      place.textContent = "The figures need a browser of 2023 or later.";
      return;
    }
    const figure = figures[Number(place.dataset.figure)];
    await Plotly.react(place, figure.data, layoutOf(figure), {displaylogo: false, responsive: true,
      displayModeBar: false});
    place.dataset.drawn = "yes";
  }
