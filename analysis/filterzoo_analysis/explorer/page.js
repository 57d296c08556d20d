"use strict";
// Rows, names and columns are untrusted input: they are written as text only.
(async () => {
  const byId = (id) => document.getElementById(id);
  const dataset = JSON.parse(byId("dataset").textContent);
  const MAIN = ["model_id", "name", "kernel", "kind", "conv_depth_norm", "n_filters", "sparsity", "variance_entropy", "orthogonality"];
  const NUMERIC = new Set(["BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE"]);
  const [PAGE, MOSAIC, CELL] = [50, 252, 8];
  const CHOICES = {
    text: [["==", "is"], ["!=", "is not"], ["contains", "contains"], ["empty", "is empty"], ["full", "is not empty"]],
    number: [[">=", "≥"], ["<=", "≤"], ["==", "="], ["empty", "is empty"], ["full", "is not empty"]],
    bool: [["yes", "is yes"], ["no", "is no"], ["empty", "is empty"]],
  };
  const state = { rows: [], page: 0, sort: null, down: false, conditions: [], layer: null, columns: new Map(), turn: 0 };

  const element = (name, text, attributes) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  };
  // Invisible characters and those that change the direction of text are shown as their codes.
  const clean = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const formatted = (value, column) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return clean(String(value));
    if (column.whole) return value.toLocaleString("en");
    return value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 5e-4) ? value.toExponential(3) : value.toFixed(3);
  };

  // Reading Parquet, by byte ranges if the server supports them.
  const compressors = {
    ZSTD: (input, length) => {
      const made = Hyparquet.decompress(input, new Uint8Array(length));
      if (made.length !== length) throw new Error("a page of another length than it states");
      return made;
    },
  };
  const opened = new Map();
  const open = ([path, bytes]) => {
    if (!opened.has(path)) {
      opened.set(path, (async () => {
        const requestInit = { credentials: "omit", referrerPolicy: "no-referrer" };
        const url = new URL(path, location.href).href;
        const file = Hyparquet.cachedAsyncBuffer(await Hyparquet.asyncBufferFromUrl({ url, byteLength: bytes, requestInit }));
        return { file, metadata: await Hyparquet.parquetMetadataAsync(file) };
      })());
    }
    return opened.get(path);
  };
  const plain = (value) => (typeof value === "bigint" ? Number(value) : value === undefined ? null : value);
  async function readColumn(config, name) {
    const parts = await Promise.all(dataset.files[config].map(async (place) => {
      const { file, metadata } = await open(place);
      const values = new Array(Number(metadata.num_rows)).fill(null);
      if (!metadata.schema.some((field) => field.name === name)) return values;
      await Hyparquet.parquetRead({
        file, metadata, compressors, columns: [name],
        onChunk: ({ columnData, rowStart }) => {
          for (let i = 0; i < columnData.length; i += 1) values[rowStart + i] = plain(columnData[i]);
        },
      });
      return values;
    }));
    return parts.flat();
  }
  // The columns with a single value in each row.
  function scalars(metadata) {
    const [root, ...fields] = metadata.schema;
    const found = [];
    for (let i = 0, left = root.num_children; left > 0; left -= 1) {
      const field = fields[i];
      const kind = field.type === "BOOLEAN" ? "bool" : NUMERIC.has(field.type) ? "number" : "text";
      if (!field.num_children) found.push({ name: field.name, kind, whole: field.type === "INT32" || field.type === "INT64" });
      let inside = field.num_children || 0;
      for (i += 1; inside > 0; i += 1, inside -= 1) inside += fields[i].num_children || 0;
    }
    return found;
  }
  const reading = new Map();
  function valuesOf(name) {
    if (!reading.has(name)) reading.set(name, readColumn("layers", name));
    return reading.get(name);
  }

  // Conditions.
  function condition(column) {
    const made = { column: state.columns.get(column) ?? [...state.columns.values()][0], wrong: "" };
    const line = element("div", null, { class: "condition" });
    const number = state.conditions.length ? state.conditions.at(-1).number + 1 : 1;
    made.number = number;
    const columns = element("select", null, { class: "column", "aria-label": `Column of condition ${number}` });
    for (const { name } of state.columns.values()) columns.append(element("option", clean(name), { value: name }));
    columns.value = made.column.name;
    made.choose = element("select", null, { "aria-label": `Comparison of condition ${number}` });
    made.input = element("input", null, { autocomplete: "off", "aria-label": `Value of condition ${number}`, list: `known-${number}` });
    made.known = element("datalist", null, { id: `known-${number}` });
    const remove = element("button", "Remove", { type: "button", "aria-label": `Remove condition ${number}` });
    const kindChanged = async () => {
      made.choose.replaceChildren(...CHOICES[made.column.kind].map(([value, text]) => element("option", text, { value })));
      made.known.replaceChildren();
      const { column: now } = made;
      if (now.kind !== "text") return;
      const distinct = [...new Set(await valuesOf(now.name))].filter((value) => value !== null);
      if (made.column === now && distinct.length <= 300) {
        made.known.replaceChildren(...distinct.sort().map((value) => element("option", null, { value })));
      }
    };
    columns.addEventListener("change", () => { made.column = state.columns.get(columns.value); kindChanged().catch(failed); select(); });
    made.choose.addEventListener("change", select);
    let waiting;
    made.input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(select, 150); });
    remove.addEventListener("click", () => {
      state.conditions = state.conditions.filter((other) => other !== made);
      line.remove();
      byId("add").focus();
      select();
    });
    line.append(columns, made.choose, made.input, made.known, remove);
    byId("conditions").append(line);
    state.conditions.push(made);
    kindChanged().catch(failed);
    return made;
  }
  // The test that a condition applies to a value, null while the condition is incomplete.
  function test(made) {
    const [how, text, kind] = [made.choose.value, made.input.value, made.column.kind];
    const asksValue = kind !== "bool" && how !== "empty" && how !== "full";
    made.input.hidden = !asksValue;
    made.wrong = "";
    if (how === "empty") return (value) => value === null;
    if (how === "full") return (value) => value !== null;
    if (kind === "bool") return (value) => value === (how === "yes");
    if (text === "") return null;
    if (kind === "number") {
      const wanted = Number(text);
      if (text.trim() === "" || !Number.isFinite(wanted)) { made.wrong = text; return null; }
      if (how === ">=") return (value) => value !== null && value >= wanted;
      if (how === "<=") return (value) => value !== null && value <= wanted;
      return (value) => value === wanted;
    }
    if (how === "==") return (value) => value === text;
    if (how === "!=") return (value) => value !== null && value !== text;
    return (value) => value !== null && value.includes(text);
  }
  async function select() {
    const turn = (state.turn += 1);
    state.layer = null;
    const tests = state.conditions.map((made) => [made, test(made)]);
    for (const made of state.conditions) made.input.setAttribute("aria-invalid", String(made.wrong !== ""));
    const asked = tests.filter(([, ask]) => ask !== null);
    const values = await Promise.all(asked.map(([made]) => valuesOf(made.column.name)));
    const models = await valuesOf("model_id");
    if (turn !== state.turn) return;
    state.rows = [];
    for (let row = 0; row < models.length; row += 1) {
      if (asked.every(([, ask], number) => ask(values[number][row]))) state.rows.push(row);
    }
    state.page = 0;
    const of = new Set(state.rows.map((row) => models[row])).size;
    const wrong = state.conditions.filter((made) => made.wrong).map((made) => ` “${clean(made.wrong)}” is not a number.`);
    byId("found").textContent = `${state.rows.length.toLocaleString("en")} of ${plural(models.length, "layer")}, in ${plural(of, "model")}.${wrong.join("")}`;
    byId("line").textContent = python(asked.map(([made]) => made));
    byId("copied").textContent = "";
    await Promise.all([table(), mosaic()]);
  }

  // The selection as Python. JSON strings are valid Python strings.
  function python(asked) {
    const spelt = (made) => (made.column.kind === "number" ? String(Number(made.input.value)) : JSON.stringify(made.input.value));
    const row = (made) => `row[${JSON.stringify(made.column.name)}]`;
    const exact = [];
    const after = [];
    for (const made of asked) {
      const how = made.choose.value;
      const name = JSON.stringify(made.column.name);
      if (how === "empty") after.push(`${row(made)} is None`);
      else if (how === "full") after.push(`${row(made)} is not None`);
      else if (how === "contains") after.push(`${spelt(made)} in (${row(made)} or "")`);
      else if (made.column.kind === "bool") exact.push(`(${name}, "==", ${how === "yes" ? "True" : "False"})`);
      else exact.push(`(${name}, ${JSON.stringify(how)}, ${spelt(made)})`);
    }
    const given = [JSON.stringify(dataset.target), '"layers"', 'split="train"'];
    if (dataset.revision) given.push(`revision=${JSON.stringify(dataset.revision)}`);
    if (exact.length) given.push(`filters=[${exact.join(", ")}]`);
    const rest = after.length ? `.filter(lambda row: ${after.join(" and ")})` : "";
    return `import datasets\n\nlayers = datasets.load_dataset(${given.join(", ")})${rest}`;
  }

  // The table.
  async function table() {
    const turn = state.turn;
    const names = [...new Set([...MAIN, ...state.conditions.map((made) => made.column.name)])].filter((name) => state.columns.has(name));
    const shown = names.map((name) => state.columns.get(name));
    const values = await Promise.all(names.map(valuesOf));
    if (turn !== state.turn) return;
    const sorted = names.indexOf(state.sort);
    const rows = [...state.rows];
    if (sorted >= 0) {
      const sign = state.down ? -1 : 1;
      rows.sort((a, b) => {
        const [x, y] = [values[sorted][a], values[sorted][b]];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return (x < y ? -sign : x > y ? sign : 0) || a - b;
      });
    }
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const head = element("tr");
    shown.forEach((column, number) => {
      const cell = element("th", null, { scope: "col", "aria-sort": number === sorted ? (state.down ? "descending" : "ascending") : "none" });
      if (column.kind === "number") cell.className = "number";
      const button = element("button", clean(column.name) + (number === sorted ? (state.down ? " ▼" : " ▲") : ""), { type: "button" });
      button.addEventListener("click", () => {
        state.down = state.sort === column.name ? !state.down : column.kind === "number";
        state.sort = column.name;
        table().then(() => byId("table").querySelectorAll("thead button")[number].focus()).catch(failed);
      });
      cell.append(button);
      head.append(cell);
    });
    head.append(element("th", "filters", { scope: "col" }));
    const body = element("tbody");
    for (const row of rows.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
      const line = element("tr");
      shown.forEach((column, number) => {
        const text = formatted(values[number][row], column);
        line.append(number ? element("td", text, column.kind === "number" ? { class: "number" } : {}) : element("th", text, { scope: "row" }));
      });
      const cell = element("td");
      const show = element("button", "Show", { type: "button", "aria-label": "Show the filters of this layer" });
      show.addEventListener("click", () => { state.layer = row; mosaic().then(() => byId("filters-title").scrollIntoView()).catch(failed); });
      cell.append(show);
      line.append(cell);
      body.append(line);
    }
    const top = element("thead");
    top.append(head);
    byId("table").replaceChildren(top, body);
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page === pages - 1;
  }

  // Filters of the selection, or of one layer.
  let sampled;
  const sample = () => {
    sampled ??= Promise.all(["layer_id", "filter_index", "weights"].map((name) => readColumn("filters_sample", name)));
    return sampled;
  };
  async function mosaic() {
    const [turn, layer] = [state.turn, state.layer];
    const ids = await valuesOf("layer_id");
    const wanted = new Set(layer === null ? state.rows.map((row) => ids[row]) : [ids[layer]]);
    byId("subject").textContent = "Reading the sample of filters …";
    const [ofLayer, places, weights] = await sample();
    const names = await valuesOf("name");
    const models = await valuesOf("model_id");
    if (turn !== state.turn || layer !== state.layer) return;
    const found = [];
    const seen = new Set();
    for (let i = 0; i < ofLayer.length; i += 1) {
      const place = `${ofLayer[i]} ${places[i]}`; // a layer of several models is drawn once
      if (!wanted.has(ofLayer[i]) || seen.has(place) || weights[i]?.length !== 9) continue;
      seen.add(place);
      found.push(weights[i]);
    }
    const shown = Math.min(found.length, MOSAIC);
    const picked = Array.from({ length: shown }, (_, i) => found[Math.floor((i * found.length) / shown)]);
    const subject = layer === null ? "the selection" : `the layer ${clean(names[layer] ?? "")} of ${clean(models[layer])}`;
    byId("subject").textContent = found.length
      ? `${shown.toLocaleString("en")} of the ${plural(found.length, "filter")} that filters_sample holds of ${subject}: 3x3, each divided by its largest absolute weight.`
      : `filters_sample holds no 3x3 filter of ${subject}.`;
    byId("legend").hidden = !found.length;
    byId("whole").hidden = layer === null;
    byId("mosaic").replaceChildren(...(found.length ? [picture(picked)] : []));
  }
  // The colours of the report's pictures, from -1 to 1.
  function colour(value) {
    const last = dataset.colours.length - 1;
    return dataset.colours[Math.round(((Math.max(-1, Math.min(1, value)) + 1) / 2) * last)];
  }
  function picture(filters) {
    const across = Math.max(4, Math.min(36, Math.floor(byId("mosaic").clientWidth / (4 * CELL)), filters.length));
    const down = Math.ceil(filters.length / across);
    const [width, height] = [across * 4 - 1, down * 4 - 1];
    const canvas = element("canvas", null, { width: width * CELL, height: height * CELL, role: "img", "aria-label": byId("subject").textContent });
    const pen = canvas.getContext("2d");
    filters.forEach((filter, number) => {
      const largest = Math.max(...filter.map(Math.abs)) || 1;
      filter.forEach((weight, at) => {
        pen.fillStyle = Number.isFinite(weight) ? `rgb(${colour(weight / largest).join(" ")})` : "black";
        pen.fillRect(((number % across) * 4 + (at % 3)) * CELL, (Math.floor(number / across) * 4 + Math.floor(at / 3)) * CELL, CELL, CELL);
      });
    });
    return canvas;
  }
  function legend() {
    const pen = byId("scale").getContext("2d");
    for (let x = 0; x < 200; x += 1) {
      pen.fillStyle = `rgb(${colour((2 * x) / 199 - 1).join(" ")})`;
      pen.fillRect(x, 0, 1, 12);
    }
  }

  function failed(error) {
    const where = byId("found");
    where.classList.add("wrong");
    where.textContent = `The data set could not be read: ${clean(String(error?.message ?? error)).slice(0, 300)}`;
  }
  addEventListener("unhandledrejection", (event) => { event.preventDefault(); failed(event.reason); });
  byId("query").addEventListener("submit", (event) => event.preventDefault());
  byId("add").addEventListener("click", () => { condition("kernel").choose.focus(); select(); });
  byId("before").addEventListener("click", () => { state.page -= 1; table(); });
  byId("after").addEventListener("click", () => { state.page += 1; table(); });
  byId("whole").addEventListener("click", () => { state.layer = null; mosaic(); });
  byId("copy").addEventListener("click", async () => {
    const text = byId("line").textContent;
    try {
      await navigator.clipboard.writeText(text);
      byId("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(byId("line"));
      byId("copied").textContent = "Selected: copy it with the keyboard.";
    }
  });
  legend();
  const { metadata } = await open(dataset.files.layers.at(-1));
  for (const column of scalars(metadata)) state.columns.set(column.name, column);
  condition(state.columns.has("kernel") ? "kernel" : "model_id");
  await select();
})();
