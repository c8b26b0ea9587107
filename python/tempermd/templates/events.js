  // Filters and sorting of the table of events; without a script it is a plain table.
  const table = document.querySelector("table.events"), form = document.querySelector(".filters");

  function filterEvents() {
    const want = Object.fromEntries(new FormData(form)), rows = [...table.tBodies[0].rows];
    const text = want.text.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = ["model", "class", "severity", "kind"].every(name => !want[name] || row.dataset[name] === want[name])
        && (!text || row.textContent.toLowerCase().includes(text));
      row.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = shown + " of " + rows.length + " events";
  }

  function sortEvents(head) {
    const column = head.cellIndex, body = table.tBodies[0], numeric = head.dataset.sort === "number";
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => {
      const cell = row.cells[column];
      if (!numeric) return cell.textContent.trim();
      return cell.dataset.value === "" ? Infinity : Number(cell.dataset.value);
    };
    const compare = (a, b) => numeric ? a[0] - b[0] || 0 : a[0].localeCompare(b[0]);
    const rows = [...body.rows].map(row => [key(row), row]).sort(compare);
    for (const [, row] of down ? rows.reverse() : rows) body.append(row);
  }

  if (table) {
    form.hidden = false;
    form.addEventListener("input", filterEvents);
    form.addEventListener("submit", event => event.preventDefault());
    filterEvents();
    for (const head of table.tHead.rows[0].cells) {
      if (!head.dataset.sort) continue;
      head.classList.add("sortable");
      head.tabIndex = 0;
      head.addEventListener("click", () => sortEvents(head));
      head.addEventListener("keydown", event => { if (event.key === "Enter") sortEvents(head); });
    }
  }
