  // A clip of frames around an event: atoms as points, bonds as lines, drawn by plotly.
  const ABSENT = 65535, LONGEST_BOND = 2.1;
  const viewer = document.getElementById("viewer");
  let clip = null, playing = null;

  async function unpack(packed) {
    if (packed.frames) return packed;
    const coded = new Uint16Array(await unpacked(packed.places).arrayBuffer());
    const n = packed.ids.length;
    packed.frames = packed.steps.map((_, frame) => Array.from({length: n}, (_, atom) => {
      const at = 3 * (frame * n + atom);
      if (coded[at] === ABSENT || coded[at + 1] === ABSENT || coded[at + 2] === ABSENT) return null;
      return [0, 1, 2].map(axis => packed.low + packed.step * coded[at + axis]);
    }));
    packed.is_marked = new Set(packed.marked);
    return packed;
  }

  function bonds(places) {
    // cells of a grid as wide as the longest bond: each atom meets the atoms of 27 cells only
    const cells = new Map(), found = [];
    const name = place => place.map(x => Math.floor(x / LONGEST_BOND));
    places.forEach((place, atom) => {
      if (!place) return;
      const key = name(place).join();
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(atom);
    });
    places.forEach((place, atom) => {
      if (!place) return;
      const [i, j, k] = name(place);
      for (let a = i - 1; a <= i + 1; a++) for (let b = j - 1; b <= j + 1; b++) for (let c = k - 1; c <= k + 1; c++)
        for (const other of cells.get([a, b, c].join()) || []) {
          if (other <= atom) continue;
          const [x, y, z] = places[other];
          if (Math.hypot(x - place[0], y - place[1], z - place[2]) < LONGEST_BOND) found.push([atom, other]);
        }
    });
    return found;
  }

  function sceneOf(frame) {
    const places = clip.frames[frame], lines = {x: [], y: [], z: []};
    for (const pair of bonds(places)) {
      for (const atom of pair) ["x", "y", "z"].forEach((axis, k) => lines[axis].push(places[atom][k]));
      for (const axis of ["x", "y", "z"]) lines[axis].push(null);
    }
    const points = (marked, size, shade) => {
      const chosen = clip.ids.map((_, atom) => atom).filter(
        atom => places[atom] && clip.is_marked.has(clip.ids[atom]) === marked);
      return {
        type: "scatter3d", mode: "markers", hovertemplate: "%{text}<extra></extra>",
        x: chosen.map(atom => places[atom][0]), y: chosen.map(atom => places[atom][1]),
        z: chosen.map(atom => places[atom][2]),
        text: chosen.map(atom => clip.symbols[atom] + " " + clip.ids[atom]),
        marker: {size, color: shade, line: {width: 0}},
      };
    };
    return [
      Object.assign({type: "scatter3d", mode: "lines", hoverinfo: "skip",
        line: {color: color("--soft"), width: 3}}, lines),
      points(false, 4, color("--curve")), points(true, 8, color("--fail")),
    ];
  }

  async function show(frame) {
    frame = Math.max(0, Math.min(clip.frames.length - 1, frame));
    const player = viewer.querySelector(".player"), place = viewer.querySelector(".scene");
    player.querySelector("input").value = frame;
    const here = frame === clip.shown ? ", the event" : "";
    player.querySelector("output").textContent = "step " + clip.steps[frame] + here;
    viewer.dataset.frame = frame;
    const bare = {visible: false, showspikes: false};
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", margin: {l: 0, r: 0, t: 0, b: 0}, showlegend: false,
      uirevision: clip.number, font: {color: color("--ink")},
      scene: {aspectmode: "data", xaxis: bare, yaxis: bare, zaxis: bare, uirevision: clip.number,
        camera: {projection: {type: "orthographic"}, eye: {x: 1.6, y: .6, z: .3}, up: {x: 0, y: 1, z: 0}}},
    };
    try {
      await loadPlotly();
      await Plotly.react(place, sceneOf(frame), layout, {displaylogo: false, responsive: true,
        displayModeBar: false});
      viewer.dataset.drawn = "yes";
    } catch (error) {
      place.textContent = "The viewer needs WebGL; the pictures beside the event do not.";
    }
  }

  function extendedXyz() {
    const places = clip.frames[clip.shown], lines = [];
    const lattice = clip.cell.join(" "), pbc = clip.pbc.map(flag => flag ? "T" : "F").join(" ");
    places.forEach((place, atom) => {
      if (place) lines.push([clip.symbols[atom], ...place.map(x => x.toFixed(4)), clip.ids[atom]].join(" "));
    });
    return lines.length + "\n" + `Lattice="${lattice}" Properties=species:S:1:pos:R:3:id:I:1 pbc="${pbc}" `
      + `step=${clip.steps[clip.shown]}\n` + lines.join("\n") + "\n";
  }

  function stop() {
    clearInterval(playing);
    playing = null;
  }

  async function open(button) {
    stop();
    clip = await unpack(clips[Number(button.dataset.clip)]);
    clip.number = Number(button.dataset.clip);
    document.getElementById("viewer-title").textContent = button.dataset.title;
    const player = viewer.querySelector(".player"), link = player.querySelector("a");
    player.querySelector("input").max = clip.frames.length - 1;
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([extendedXyz()], {type: "text/plain"}));
    link.download = "step-" + clip.steps[clip.shown] + ".extxyz";
    if (!viewer.open) viewer.showModal();
    await show(clip.shown);
  }

  if (viewer) {
    for (const button of document.querySelectorAll("button.look")) {
      button.hidden = false;
      button.addEventListener("click", () => open(button));
    }
    const player = viewer.querySelector(".player"), slider = player.querySelector("input");
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    for (const button of player.querySelectorAll("button")) button.addEventListener("click", () => {
      if (button.dataset.move !== "play") { stop(); show(Number(slider.value) + Number(button.dataset.move)); return; }
      if (playing) { stop(); return; }
      playing = setInterval(() => show((Number(slider.value) + 1) % clip.frames.length), 250);
    });
    viewer.addEventListener("close", stop);
  }
