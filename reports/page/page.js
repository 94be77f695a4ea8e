"use strict";
// What the page does beside standing still: pictures when they come into sight, and the trials' table.
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Base 85 as Python's base64.b85encode writes it, with a comma for its "<".
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

  function bytesOf(text) {
    const digit = new Uint8Array(128);
    for (let i = 0; i < 85; i++) digit[DIGITS.charCodeAt(i)] = i;
    const bytes = new Uint8Array(Math.ceil(text.length / 5) * 4);
    for (let i = 0, j = 0; i < text.length; i += 5) {
      let value = 0;
      for (let k = i; k < i + 5; k++) value = value * 85 + (k < text.length ? digit[text.charCodeAt(k)] : 84);
      for (let shift = 24; shift >= 0; shift -= 8) bytes[j++] = value >>> shift;
    }
    return bytes.subarray(0, Math.floor((text.length * 4) / 5));
  }

  async function unpack(id) {
    const bytes = bytesOf(byId(id).textContent);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // Pictures

  const PAPER = 660;
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const config = {
    displayModeBar: false, displaylogo: false, responsive: true, showSendToCloud: false,
    plotlyServerURL: "", scrollZoom: false,
  };

  function look(dark) {
    const ink = dark ? "#e5e7eb" : "#1f2937";
    const line = dark ? "#374151" : "#e5e7eb";
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, exponentformat: "e" };
    const clear = "rgba(0,0,0,0)";
    return { layout: {
      paper_bgcolor: clear, plot_bgcolor: clear, xaxis: axis, yaxis: axis,
      font: { family: "system-ui, sans-serif", size: 13, color: ink },
    } };
  }

  function picture(place, figure, dark) {
    figure.layout.template = look(dark);
    // On a phone pictures beside each other are too narrow: plotly keeps them, so the font shrinks.
    figure.layout.font = { size: innerWidth < 640 ? 10 : 13 };
    // Under a finger a picture is a part of the page that scrolls, and no place to draw a box in.
    if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
    return window.Plotly.react(place, figure.data, figure.layout, config);
  }

  async function showPictures(figures) {
    const places = Object.keys(figures).map(byId);
    const numbers = document.querySelectorAll("figure details");
    if (places.length) {
      const script = make("script", { textContent: await unpack("packed-plotly") });
      document.head.append(script);
    }
    const drawn = new Set();
    const draw = (place, dark) => { drawn.add(place); return picture(place, figures[place.id], dark); };
    const sight = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((e) => e.isIntersecting)) {
        sight.unobserve(entry.target);
        if (!drawn.has(entry.target)) draw(entry.target, darkness.matches);
      }
    }, { rootMargin: "600px" });
    places.forEach((place) => sight.observe(place));
    const again = () => drawn.forEach((place) => draw(place, darkness.matches));
    darkness.addEventListener("change", again);
    // On paper pictures are as wide as an A4 page's text, and their numbers stand below them.
    const shut = new Set();
    addEventListener("beforeprint", () => {
      numbers.forEach((each) => { if (!each.open) { each.open = true; shut.add(each); } });
      places.forEach((place) => { figures[place.id].layout.width = PAPER; draw(place, false); });
    });
    addEventListener("afterprint", () => {
      shut.forEach((each) => { each.open = false; });
      shut.clear();
      places.forEach((place) => {
        const { layout } = figures[place.id];
        delete layout.width;
        layout.autosize = true;
      });
      again();
    });
    byId("no-pictures").remove();
  }

  // The trials' table

  const ROWS = 100;

  function valuesOf(trial, parameters, priced) {
    const last = trial.curve.length ? trial.curve[trial.curve.length - 1][1] : null;
    return [
      trial.number, trial.status, trial.status === "pruned" ? last : trial.objective,
      ...parameters.map((name) => trial.params[name]), trial.seed, trial.wall_seconds,
      ...(priced ? [trial.cost_usd] : []), trial.chosen_by,
    ];
  }

  const missing = (value) => value === null || value === undefined;

  function compare(a, b) {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function quoted(word) {
    return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  }

  function line(curve) {
    const ns = "http://www.w3.org/2000/svg";
    const steps = curve.map((p) => p[0]);
    const values = curve.map((p) => p[1]);
    const place = (value, all, size) => {
      const low = Math.min(...all);
      return ((value - low) / (Math.max(...all) - low || 1)) * size;
    };
    const svg = document.createElementNS(ns, "svg");
    const path = document.createElementNS(ns, "polyline");
    const points = curve.map((p) => `${4 + place(p[0], steps, 232)},${44 - place(p[1], values, 40)}`);
    for (const [name, value] of [["width", 240], ["height", 48], ["role", "img"],
      ["aria-label", `Learning curve from ${values[0]} to ${values[values.length - 1]}`]]) {
      svg.setAttribute(name, value);
    }
    for (const [name, value] of [["points", points.join(" ")], ["fill", "none"],
      ["stroke", "currentColor"], ["stroke-width", 2]]) path.setAttribute(name, value);
    svg.append(path);
    return svg;
  }

  function detail(trial, { script, data }, columns) {
    const cell = make("td", { colSpan: columns });
    const say = (title, text) => cell.append(make("strong", { textContent: title }), make("pre", { textContent: text }));
    if (trial.failure) say("Why it failed", [trial.failure, ...trial.stderr_tail].join("\n"));
    if (trial.curve.length > 1) {
      say("Curve", trial.curve.map(([step, value]) => `${step}: ${value}`).join("   "));
      cell.append(line(trial.curve));
    }
    if (Object.keys(trial.metrics).length) say("Metrics", JSON.stringify(trial.metrics));
    if (trial.training_job) say("Training job", `${trial.training_job} ${trial.instance}`);
    const channel = data ? `SM_CHANNEL_TRAINING=${quoted(data)} ` : "";
    const words = ["python", script, ...trial.arguments].map(quoted).join(" ");
    if (trial.arguments.length) say("Train it again", channel + words);
    if (!cell.childNodes.length) cell.append("Nothing else is recorded of this trial.");
    return make("tr", { className: "detail" }, cell);
  }

  function csv(trials, parameters) {
    // A text that begins like a formula would be run by a spreadsheet.
    const plain = (value) => (missing(value) ? ""
      : typeof value === "object" ? JSON.stringify(value)
        : typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value));
    const safe = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const fields = ["number", "status", "purpose", "chosen_by", "seed", "objective", "confirms",
      "continues", "wall_seconds", "billable_seconds", "cost_usd", "instance", "training_job",
      "failure", "curve", "metrics", "arguments"];
    const header = [...fields.slice(0, 6), ...parameters.map((name) => `param.${name}`), ...fields.slice(6)];
    const rows = trials.map((t) => [
      ...fields.slice(0, 6).map((name) => t[name]), ...parameters.map((name) => t.params[name]),
      ...fields.slice(6).map((name) => t[name]),
    ]);
    return [header, ...rows].map((row) => row.map((v) => safe(plain(v))).join(",")).join("\r\n") + "\r\n";
  }

  function save(text, name, type) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  async function showTrials(cells) {
    const table = byId("all-trials");
    if (!table) return;
    const text = await unpack("packed-report");
    const { trials, parameters, ...commands } = JSON.parse(text).sections.trials;
    const priced = trials.some((t) => t.cost_usd !== null);
    const rows = trials.map((trial, i) => ({
      trial, cells: cells[i], values: valuesOf(trial, parameters, priced),
      searched: [...cells[i], trial.failure].join(" ").toLowerCase(),
    }));
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const state = { column: 0, up: true, words: [], status: "", most: ROWS };
    const count = make("span", { role: "status" });
    const more = make("button", { type: "button", textContent: `Show ${ROWS} more` });

    function fill() {
      const found = rows.filter((row) => (!state.status || row.trial.status === state.status)
        && state.words.every((word) => (/^\d+$/.test(word)
          ? row.cells.some((cell) => cell.split(/\s+/).includes(word)) : row.searched.includes(word))));
      found.sort((a, b) => {
        const x = a.values[state.column];
        const y = b.values[state.column];
        return missing(x) || missing(y) || state.up ? compare(x, y) : compare(y, x);
      });
      body.replaceChildren(...found.slice(0, state.most).map((row) => {
        const [number, ...rest] = row.cells;
        const open = make("button", { type: "button", textContent: number });
        open.setAttribute("aria-expanded", "false");
        open.setAttribute("aria-label", `Trial ${number}: more`);
        const line_ = make("tr", {}, make("td", {}, open), ...rest.map((cell) => make("td", { textContent: cell })));
        open.addEventListener("click", () => {
          const opened = open.getAttribute("aria-expanded") === "true";
          open.setAttribute("aria-expanded", String(!opened));
          if (opened) line_.nextSibling.remove();
          else line_.after(detail(row.trial, commands, heads.length));
        });
        return line_;
      }));
      const shown = Math.min(state.most, found.length);
      count.textContent = `${shown} of ${found.length} trials shown${found.length < rows.length ? `, ${rows.length} in all` : ""}`;
      more.hidden = shown === found.length;
    }

    heads.forEach((head, i) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        state.up = state.column === i ? !state.up : true;
        state.column = i;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
        fill();
      });
    });
    heads[0].setAttribute("aria-sort", "ascending");
    const find = make("input", { type: "search", placeholder: "words or numbers" });
    find.setAttribute("aria-label", "Filter the trials by words");
    find.addEventListener("input", () => { state.words = find.value.toLowerCase().split(/\s+/).filter(Boolean); state.most = ROWS; fill(); });
    const statuses = [...new Set(trials.map((t) => t.status))];
    const choose = make("select", {}, make("option", { value: "", textContent: "every status" }),
      ...statuses.map((status) => make("option", { value: status, textContent: status })));
    choose.setAttribute("aria-label", "Filter the trials by status");
    choose.addEventListener("change", () => { state.status = choose.value; state.most = ROWS; fill(); });
    more.addEventListener("click", () => { state.most += ROWS; fill(); });
    const asCsv = make("button", { type: "button", textContent: "Download all as CSV" });
    asCsv.addEventListener("click", () => save(csv(trials, parameters), "trials.csv", "text/csv"));
    const asJson = make("button", { type: "button", textContent: "Download report.json" });
    asJson.addEventListener("click", () => save(text, "report.json", "application/json"));
    const place = table.parentElement;
    place.before(make("div", { className: "tools" }, "Filter", find, choose, count, asCsv, asJson));
    place.querySelector(".more")?.remove();
    place.after(make("div", { className: "tools" }, more));
    fill();
    // On paper, where nothing can be filtered or asked for, stand all trials.
    let before = {};
    addEventListener("beforeprint", () => {
      before = { ...state };
      Object.assign(state, { words: [], status: "", most: Infinity });
      fill();
    });
    addEventListener("afterprint", () => { Object.assign(state, before); fill(); });
  }

  // A sweep that is still running: the page loads itself again, until the reader stops it.
  const again = byId("load-again");
  if (again) {
    let timer = 0;
    // Not while it is read: what is open, typed or in focus would be lost.
    const inUse = () => document.activeElement !== document.body
      || document.querySelector("details[open], [aria-expanded=true]")
      || [...document.querySelectorAll("input, select")].some((each) => each.value);
    const next = () => { if (inUse()) start(); else location.reload(); };
    const start = () => { timer = setTimeout(next, again.dataset.seconds * 1000); };
    const button = make("button", { type: "button", textContent: "Stop that" });
    button.addEventListener("click", () => {
      if (timer) { clearTimeout(timer); timer = 0; } else start();
      button.textContent = timer ? "Stop that" : "Load again by itself";
    });
    again.append(" It loads itself again every ", again.dataset.seconds, " seconds, unless something on it is in use. ", button);
    start();
  }

  // The table first, for it is there at once; plotly.js takes a second to load.
  async function show() {
    const { figures, cells } = JSON.parse(await unpack("packed-drawn"));
    await showTrials(cells);
    await new Promise(requestAnimationFrame);
    await showPictures(figures);
  }

  show()
    .then(() => { document.documentElement.dataset.ready = "yes"; })
    .catch((error) => { document.documentElement.dataset.ready = "no"; throw error; });
})();
