  // The list of runs: filtered, sorted, and drawn fifty at a time, so that ten thousand are no burden.
  const PAGE_ROWS = 50;
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.querySelector("table.runs"), form = document.querySelector(".filters");
  const pager = document.querySelector(".pager"), cells = [...document.querySelectorAll("button.cell")];
  const view = {shown: data.runs, first: 0, key: null, down: false, open: null};

  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const words = kind => kind.replaceAll("_", " ").replace("nonfinite", "non-finite numbers");
  const stateOf = run => run.state === "finished" && run.warned ? "warned" : run.state;
  const colour = run => ({failed: "fail", finished: "pass", warned: "warn"})[stateOf(run)] || "soft";

  function choices(name, values, text = value => value) {
    for (const [value, label] of values.map(value => [value, text(value)]))
      form.elements[name].append(new Option(label, value));
  }

  function filterRuns() {
    const want = Object.fromEntries(new FormData(form)), text = want.text.trim().toLowerCase();
    view.shown = data.runs.filter(run =>
      ["m", "c", "s"].every(name => want[name] === "" || run[name] === Number(want[name]))
      && (!want.state || stateOf(run) === want.state) && (!want.first || run.first === want.first)
      && (!text || String(run.seed) === text || run.id.startsWith(text)));
    for (const cell of cells) {
      const here = String(data.models.indexOf(cell.dataset.model)) === want.m
        && String(data.conditions.indexOf(cell.dataset.condition)) === want.c;
      cell.setAttribute("aria-pressed", String(here));
    }
    form.querySelector("output").textContent = view.shown.length + " of " + data.runs.length + " runs";
    view.first = 0;
    sortRuns();
  }

  function sortRuns() {
    const key = view.key;
    if (key) {
      const lists = {m: data.models, s: data.structures, c: data.conditions}[key];
      const value = run => lists ? lists[run[key]] : key === "state" ? stateOf(run) : run[key];
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true});
        return view.down ? -order : order;
      };
      view.shown = [...view.shown].sort(compare);
    }
    showRuns();
  }

  function lived(run) {
    const bar = make("span", undefined, "lived"), percent = time => Math.min(100, 100 * time / (run.of || 1)) + "%";
    const done = make("i");
    done.style.width = percent(run.ps);
    bar.append(done);
    if (run.t !== undefined) {
      const mark = make("b");
      mark.style.left = percent(run.t);
      bar.append(mark);
    }
    bar.title = run.ps + " of " + run.of + " ps";
    return bar;
  }

  function rowOf(run) {
    const row = make("tr", undefined, "run"), cell = (content, className) => {
      const one = make("td", undefined, className);
      one.append(content);
      row.append(one);
    };
    const name = make("button", run.id.slice(0, 10));
    name.type = "button";
    name.setAttribute("aria-expanded", String(view.open === run));
    cell(name);
    cell(data.models[run.m]);
    cell(data.structures[run.s]);
    cell(data.conditions[run.c]);
    cell(run.seed === null ? "–" : String(run.seed), "right");
    cell(make("span", stateOf(run), "state " + colour(run)));
    cell(lived(run));
    const first = run.first ? words(run.first) + (run.t === undefined ? "" : " at " + run.t + " ps") : run.said && run.state !== "finished" ? run.said : "–";
    cell(first.length > 90 ? first.slice(0, 88) + "…" : first, "seen");
    row.addEventListener("click", () => { view.open = view.open === run ? null : run; showRuns(run); });
    return row;
  }

  function factsOf(run) {
    const list = make("dl"), fact = (name, content) => {
      list.append(make("dt", name));
      const value = make("dd");
      value.append(content);
      list.append(value);
    };
    fact("Run", make("code", run.id));
    fact("Lived", run.ps + " of " + run.of + " ps" + (run.wall === undefined ? "" : ", in " + run.wall + " s, attempt " + run.tries));
    if (run.said) fact("End", run.said);
    if (run.n) fact("Events", Object.entries(run.n).map(([kind, count]) => words(kind) + " " + count).join(", "));
    if (run.notes) fact("Notes", run.notes.join("; "));
    if (run.page) {
      const link = make("a", "curves, pictures and every event");
      link.href = run.page;
      fact("Details", link);
    }
    if (run.at) {
      const at = "runs/" + run.id + "/" + run.at + "/";
      fact("Files", make("code", at));
      fact("Analyse", make("code", "tempermd analyse " + at + "trajectory.lammpstrj " + at + "log.lammps -o " + run.id.slice(0, 6), "command"));
    } else if (run.state === "planned" || run.state === "waiting") {
      fact("Run it", make("code", "tempermd campaign run-one . " + run.id, "command"));
    }
    return list;
  }

  function insideOf(run) {
    const row = make("tr", undefined, "inside"), cell = make("td");
    cell.colSpan = 8;
    cell.append(factsOf(run));
    if (run.events) {
      const list = make("ul");
      for (const [kind, severity, step, time, atoms, message] of run.events) {
        const item = make("li"), culprits = atoms.length ? "; atoms " + atoms.join(", ") : "";
        item.append(make("span", severity, severity), " " + words(kind) + " at step " + step + " (" + time + " ps" + culprits + "): " + message);
        if (run.at) item.append(make("code", "tempermd replay runs/" + run.id + " " + step + " -o replay", "command"));
        list.append(item);
      }
      cell.append(list);
    }
    row.append(cell);
    return row;
  }

  function showRuns(focused) {
    const body = table.tBodies[0], rows = view.shown.slice(view.first, view.first + PAGE_ROWS);
    body.replaceChildren();
    for (const run of rows) {
      const row = rowOf(run);
      body.append(row);
      if (view.open === run) {
        row.classList.add("open");
        body.append(insideOf(run));
      }
      if (focused === run) row.querySelector("button").focus({preventScroll: true});
    }
    const last = Math.min(view.first + PAGE_ROWS, view.shown.length);
    pager.hidden = view.shown.length <= PAGE_ROWS;
    pager.querySelector("span").textContent = view.shown.length ? view.first + 1 + "–" + last + " of " + view.shown.length : "";
    pager.querySelector("[data-move='-1']").disabled = view.first === 0;
    pager.querySelector("[data-move='1']").disabled = last === view.shown.length;
  }

  choices("m", data.models.map((_, k) => k), k => data.models[k]);
  choices("c", data.conditions.map((_, k) => k), k => data.conditions[k]);
  choices("s", data.structures.map((_, k) => k), k => data.structures[k]);
  choices("state", [...new Set(data.runs.map(stateOf))].sort());
  choices("first", [...new Set(data.runs.map(run => run.first).filter(Boolean))].sort(), words);
  form.hidden = table.hidden = false;
  form.addEventListener("input", filterRuns);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filterRuns));
  for (const button of pager.querySelectorAll("button"))
    button.addEventListener("click", () => { view.first += Number(button.dataset.move) * PAGE_ROWS; showRuns(); });
  for (const head of table.tHead.rows[0].cells) {
    head.classList.add("sortable");
    head.tabIndex = 0;
    const sort = () => {
      view.down = view.key === head.dataset.key && !view.down;
      view.key = head.dataset.key;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
      view.first = 0;
      sortRuns();
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  }
  for (const cell of cells) {
    cell.addEventListener("click", () => {
      const pressed = cell.getAttribute("aria-pressed") === "true";
      form.elements.m.value = pressed ? "" : String(data.models.indexOf(cell.dataset.model));
      form.elements.c.value = pressed ? "" : String(data.conditions.indexOf(cell.dataset.condition));
      filterRuns();
      if (!pressed) document.getElementById("runs").scrollIntoView({behavior: "smooth"});
    });
  }
  filterRuns();
