"use strict";
// Data are written as text only: names are untrusted input.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { models, layers, marks, filters } = data;
  const count = models.model_id.length;
  const byId = (id) => document.getElementById(id);
  const MEASURES = ["sparsity", "variance_entropy", "orthogonality"];
  // A column that is empty for all models is left out; the figure `coverage` has it.
  const COLUMNS = ["model_id", "task", "visual_category", "architecture", "licence", "robust", "n_layers", "filters_3x3", ...MEASURES]
    .filter((column) => models[column].some((value) => value !== null));
  const NUMBERS = new Set(["n_layers", "filters_3x3", "clean_accuracy", "robust_accuracy", ...MEASURES]);
  const CHOICES = ["source", "task", "visual_category", "licence", "robust"];
  const SEARCHED = ["model_id", "task", "visual_category", "architecture", "licence", "training_dataset"];
  const PAGE = 50;
  const NAMES = { model_id: "model", n_layers: "layers", filters_3x3: "3x3 filters", variance_entropy: "entropy" };
  const spelled = (column) => NAMES[column] || column.replaceAll("_", " ");
  const state = { rows: [], page: 0, sort: "model_id", down: false };

  const element = (name, text, attributes) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  };
  // Invisible characters and those that change the direction of text are shown as their codes.
  const clean = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const formatted = (column, value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return clean(String(value));
    return Number.isInteger(value) && !MEASURES.includes(column) ? value.toLocaleString("en") : value.toFixed(3);
  };
  // A long name may break after slashes. The revision after @ is less prominent.
  const named = (id) => {
    const made = document.createDocumentFragment();
    const at = id.indexOf("@") < 0 ? id.length : id.indexOf("@");
    for (const part of clean(id.slice(0, at)).split(/(?<=\/)/)) made.append(part, document.createElement("wbr"));
    if (at < id.length) made.append(element("span", clean(id.slice(at)), { class: "revision" }));
    return made;
  };
  const link = (row) => "#model/" + encodeURIComponent(models.model_id[row]);

  // The table of models.
  const texts = models.model_id.map((_, row) => SEARCHED.map((c) => models[c][row] ?? "").join("\n").toLowerCase());
  const selects = {};
  for (const column of CHOICES) {
    const values = [...new Set(models[column].map((value) => formatted(column, value)))].sort();
    if (values.length < 2) continue;
    const field = element("div", null, { class: "field" });
    field.append(element("label", spelled(column), { for: "choose-" + column }));
    const select = element("select", null, { id: "choose-" + column });
    select.append(element("option", "all", { value: "" }));
    values.forEach((value, number) => {
      const option = element("option", value, { value: String(number) });
      option.chosen = value;
      select.append(option);
    });
    select.addEventListener("change", filter);
    field.append(select);
    byId("filters").append(field);
    selects[column] = select;
  }
  let waiting;
  byId("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  byId("filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  byId("before").addEventListener("click", () => { state.page -= 1; draw(); });
  byId("after").addEventListener("click", () => { state.page += 1; draw(); });

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = Object.entries(selects).filter(([, s]) => s.value !== "").map(([c, s]) => [c, s.selectedOptions[0].chosen]);
    state.rows = [];
    for (let row = 0; row < count; row += 1) {
      if (wanted.every(([c, value]) => formatted(c, models[c][row]) === value) && words.every((word) => texts[row].includes(word))) state.rows.push(row);
    }
    state.page = 0;
    sort();
  }
  function sort() {
    const values = models[state.sort];
    const sign = state.down ? -1 : 1;
    state.rows.sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return (x < y ? -sign : x > y ? sign : 0) || a - b;
    });
    draw();
  }
  function draw() {
    const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const head = element("tr");
    for (const column of COLUMNS) {
      const sorted = state.sort === column;
      const cell = element("th", null, { scope: "col", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none" });
      if (NUMBERS.has(column)) cell.className = "number";
      const button = element("button", spelled(column) + (sorted ? (state.down ? " ▼" : " ▲") : ""), { type: "button", "data-column": column });
      button.addEventListener("click", () => {
        state.down = sorted ? !state.down : NUMBERS.has(column);
        state.sort = column;
        sort();
        document.querySelector(`#table button[data-column="${column}"]`).focus();
      });
      cell.append(button);
      head.append(cell);
    }
    const body = element("tbody");
    for (const row of state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
      const line = element("tr");
      for (const column of COLUMNS) {
        if (column === "model_id") {
          const cell = element("th", null, { scope: "row" });
          const to = element("a", null, { href: link(row) });
          to.append(named(models.model_id[row]));
          cell.append(to);
          line.append(cell);
        } else {
          const text = formatted(column, models[column][row]);
          line.append(element("td", text, { class: NUMBERS.has(column) ? "number" : text.length < 20 ? "short" : "long" }));
        }
      }
      body.append(line);
    }
    const top = element("thead");
    top.append(head);
    byId("table").replaceChildren(top, body);
    byId("found").textContent = `${state.rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} models`;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page === pages - 1;
  }

  // The page of a model.
  function facts(row) {
    const list = element("dl", null, { class: "facts" });
    for (const [column, values] of Object.entries(models)) {
      if (column === "model_id") continue;
      const pair = element("div");
      pair.append(element("dt", spelled(column)));
      const value = values[row];
      const shown = element("dd");
      if (column === "url" && /^https?:\/\//i.test(value ?? "")) {
        shown.append(element("a", clean(value), { href: value, rel: "noopener noreferrer nofollow" }));
      } else if (column === "duplicate_of" && value !== null) {
        shown.append(element("a", clean(value), { href: "#model/" + encodeURIComponent(value) }));
      } else {
        shown.textContent = formatted(column, value);
      }
      pair.append(shown);
      list.append(pair);
    }
    return list;
  }
  function chart(row, start, end) {
    const means = MEASURES.map((m) => {
      const known = layers[m].slice(start, end).filter((v) => v !== null);
      return `${spelled(m)} ${known.length ? (known.reduce((a, b) => a + b, 0) / known.length).toFixed(3) : "–"}`;
    });
    const label = `Measures of ${end - start} layers by relative depth; means: ${means.join(", ")}`;
    const made = element("div", null, { class: "chart", role: "img", "aria-label": label });
    const axes = byId("chart").content.cloneNode(true);
    marks[row].forEach((path, number) => axes.querySelector(`#chart-marks-${number} path`).setAttribute("d", path));
    made.append(axes);
    return made;
  }
  function layerTable(start, end) {
    const columns = ["name", "kind", "conv_depth_norm", "n_filters", ...MEASURES, "variance_entropy_threshold"];
    const names = { conv_depth_norm: "depth", n_filters: "filters", variance_entropy_threshold: "threshold" };
    const table = element("table");
    const head = element("tr");
    for (const column of columns) head.append(element("th", names[column] || spelled(column), { scope: "col" }));
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    for (let i = start; i < end; i += 1) {
      const line = element("tr");
      columns.forEach((column, number) => {
        const text = formatted(column, layers[column][i]);
        line.append(number ? element("td", text, number > 1 ? { class: "number" } : {}) : element("th", text, { scope: "row" }));
      });
      body.append(line);
    }
    table.append(top, body);
    const region = element("div", null, { class: "scroll", tabindex: 0, role: "region", "aria-label": "3x3 layers of this model" });
    region.append(table);
    return region;
  }
  function grid(row) {
    const label = `${filters.count[row]} sampled 3x3 filters, each scaled to its largest number; blue negative, red positive`;
    const made = element("img", null, { class: "grid", alt: label, src: "data:image/png;base64," + filters.picture[row] });
    made.addEventListener("load", () => { made.width = 8 * made.naturalWidth; });
    return made;
  }
  const rowOf = new Map(models.model_id.map((id, row) => [id, row]));
  function show() {
    const view = byId("model");
    const hash = location.hash;
    if (!hash.startsWith("#model/")) { view.hidden = true; view.replaceChildren(); return; }
    let id = null;
    try { id = decodeURIComponent(hash.slice(7)); } catch { /* not a link of this page */ }
    const row = rowOf.get(id);
    const title = element("h2", row === undefined ? "No such model" : null, { id: "model-title", tabindex: -1 });
    if (row !== undefined) title.append(named(id));
    const back = element("a", "Back to all models", { href: "#models" });
    view.replaceChildren(back, title);
    if (row !== undefined) {
      view.append(facts(row));
      const [start, end] = [layers.start[row], layers.start[row + 1]];
      view.append(element("h3", "Filters"));
      view.append(filters.count[row] ? grid(row) : element("p", "filters_sample holds none of this model.", { class: "note" }));
      view.append(element("h3", "3x3 layers by depth"));
      if (end > start) view.append(chart(row, start, end), layerTable(start, end));
      else view.append(element("p", "No 3x3 layer with statistics stands here: none exists, or the model is a copy of another.", { class: "note" }));
    }
    view.hidden = false;
    title.focus({ preventScroll: true });
    view.scrollIntoView();
  }
  addEventListener("hashchange", show);
  filter();
  show();
})();
