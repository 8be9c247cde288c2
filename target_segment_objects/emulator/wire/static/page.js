// Asks the emulator once a second what has arrived, and shows it.
// Texts of clients are inserted as text, never as HTML, which the page's policy forbids too.
"use strict";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const NUMERIC = new Set(["BIGINT", "HUGEINT", "DOUBLE"]);
const NUMBERS = new Intl.NumberFormat("en");

const byId = (id) => document.getElementById(id);

let run = null; // the emulator that responded last; another one resets the page
let epoch = 0; // milliseconds between the clocks of the emulator and the browser
let before = null; // time and number of requests of the last response
let paused = false;
let timer = null;
let queryNumber = 0; // number of the newest query; the response to an older one is ignored
const shown = new Map(); // the data that each part of the page shows, as JSON
const seen = new Map(); // keys of the lines that each list has shown

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function text(id, value) {
  const target = byId(id);
  if (target.textContent !== value) target.textContent = value;
}

// Draws a part of the page if its data has changed.
function draw(part, data, drawing) {
  const json = JSON.stringify(data);
  if (shown.get(part) === json) return;
  shown.set(part, json);
  drawing(data);
}

// Fills a list, and highlights lines with new keys for a moment.
function fill(id, items, keyOf, lineOf) {
  const known = seen.get(id);
  const lines = items.map((item) => {
    const line = lineOf(item);
    if (known && !known.has(keyOf(item))) line.classList.add("fresh");
    return line;
  });
  seen.set(id, new Set(items.map(keyOf)));
  byId(id).replaceChildren(...lines);
}

function bytes(size) {
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let unit = -1;
  for (; size >= 999.95 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${size.toFixed(1)} ${units[unit]}`;
}

function seconds(time) {
  if (time === null) return "…";
  return time < 1 ? `${(time * 1000).toFixed(time < 0.01 ? 1 : 0)} ms` : `${time.toFixed(1)} s`;
}

function time(at) {
  const moment = new Date(epoch + at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const clock = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
  return element("time", { datetime: moment.toISOString() }, clock);
}

function count(number, one, many) {
  return `${NUMBERS.format(number)} ${number === 1 ? one : many}`;
}

function status(state, words) {
  byId("status").dataset.state = state;
  text("status", words);
}

function statusBadge(request) {
  if (request.status === null) {
    const [kind, words] = request.seconds === null ? ["", "in flight"] : ["warn", "cut"];
    return element("span", { class: `badge ${kind}` }, words);
  }
  const kind = request.status < 400 ? "good" : request.status < 500 ? "bad" : "warn";
  return element("span", { class: `badge ${kind}` }, String(request.status));
}

function requestLine(request) {
  const number = (words) => element("td", { class: "number" }, words);
  return element(
    "tr",
    {},
    element("td", {}, time(request.at)),
    element("td", {}, element("span", { class: "id" }, request.path || request.id)),
    element("td", {}, statusBadge(request)),
    number(request.objects ? NUMBERS.format(request.objects) : ""),
    number(request.bytes ? bytes(request.bytes) : ""),
    number(seconds(request.seconds)),
    element("td", { class: request.reason ? "reason" : "id" }, request.reason || request.sync_id),
  );
}

function refusalLine(request) {
  return element(
    "li",
    {},
    statusBadge(request),
    element("span", { class: "id" }, request.path || request.id),
    time(request.at),
    element("span", { class: "reason" }, request.reason),
  );
}

function sessionLine(session) {
  const kinds = { open: "", finished: "good", failed: "bad", expired: "warn" };
  const facts = [
    count(session.parts, "part", "parts"),
    count(session.objects, "object", "objects"),
    bytes(session.bytes),
  ].join(" · ");
  const line = element(
    "li",
    {},
    element("span", { class: `badge ${kinds[session.state]}` }, session.state),
    element("span", { class: "id" }, session.sync_id),
    element("span", {}, time(session.started_at), " – ", time(session.last_call_at)),
    element("span", { class: "facts quiet" }, facts),
  );
  if (session.error) line.append(element("span", { class: "reason" }, session.error));
  return line;
}

const chosen = () => decodeURIComponent(location.hash.slice(1));

function drawTables({ tables, table_count: tableCount, current }) {
  const list = byId("tables");
  const buttons = new Map([...list.querySelectorAll("button")].map((b) => [b.dataset.name, b]));
  const lines = tables.map(({ name, objects }) => {
    // Reusing the button keeps the keyboard focus.
    const button = buttons.get(name) ?? element("button", { type: "button" });
    button.dataset.name = name;
    button.setAttribute("aria-pressed", String(name === current));
    button.replaceChildren(name, element("span", {}, NUMBERS.format(objects)));
    return button.parentElement ?? element("li", {}, button);
  });
  if (lines.length !== list.children.length || lines.some((l, n) => l !== list.children[n])) {
    list.replaceChildren(...lines);
  }
  const more = tableCount - tables.length;
  byId("tables-more").hidden = more <= 0;
  text("tables-more", `and ${count(more, "collection", "collections")} more`);
}

function columnHead(column) {
  const head = element("th", { scope: "col" }, column.name, element("small", {}, column.type));
  if (NUMERIC.has(column.type)) head.className = "number";
  if (column.lost) {
    const words = `${count(column.lost, "value", "values")} did not fit`;
    head.append(element("small", { class: "lost" }, words));
  }
  return head;
}

function drawRows(rows) {
  const [head, body] = byId("rows").querySelectorAll("thead, tbody");
  if (rows === null) {
    text("rows-title", "");
    head.replaceChildren();
    body.replaceChildren();
    return;
  }
  const columns = rows.columns;
  const more = rows.more_columns ? `, the first ${columns.length - 1} columns` : "";
  text("rows-title", `${rows.table}: the ${rows.rows.length} newest, newest first${more}`);
  head.replaceChildren(element("tr", {}, ...columns.map(columnHead)));
  const known = seen.get("rows");
  const keys = rows.rows.map((row) => JSON.stringify([rows.table, row]));
  const lines = rows.rows.map((row, index) => {
    const line = element("tr", {}, ...row.map((value, n) => cell(value, columns[n], n)));
    if (known?.table === rows.table && !known.keys.has(keys[index])) line.classList.add("fresh");
    return line;
  });
  seen.set("rows", { table: rows.table, keys: new Set(keys) });
  body.replaceChildren(...lines);
}

function cell(value, column, index) {
  if (index === 0) return element("th", { scope: "row" }, value ?? "");
  const side = NUMERIC.has(column.type) ? "number" : "";
  if (value === null) return element("td", { class: `none ${side}` }, "null");
  return element("td", { class: side }, value);
}

function drawTotals(totals, now) {
  const rate = before ? (totals.requests - before.requests) / (now - before.now) : 0;
  before = { now, requests: totals.requests };
  text("total-requests", NUMBERS.format(totals.requests));
  text("total-rate", Number.isFinite(rate) ? NUMBERS.format(Math.round(rate)) : "–");
  text("total-in-flight", NUMBERS.format(totals.in_flight));
  text("total-objects", NUMBERS.format(totals.objects));
  text("total-refused", NUMBERS.format(totals.refused));
  byId("refused-tile").classList.toggle("some", totals.refused > 0);
}

function drawList(id, items, lineOf, keyOf) {
  draw(id, items, () => {
    byId(`${id}-empty`).hidden = items.length > 0;
    (byId(`${id}-full`) ?? byId(id)).hidden = items.length === 0;
    fill(id, items, keyOf, lineOf);
  });
}

function show(state) {
  if (run !== state.run) {
    run = state.run;
    epoch = Date.now() - state.now * 1000;
    before = null;
    shown.clear();
    seen.clear();
  }
  text("store", state.warehouse ? `warehouse ${state.warehouse}` : "objects in memory");
  drawTotals(state.totals, state.now);
  drawList("requests", state.requests, requestLine, (request) => request.id);
  drawList("refusals", state.refusals, refusalLine, (request) => request.id);
  drawList("sessions", state.sessions, sessionLine, (session) => session.sync_id);
  byId("collections-empty").hidden = state.tables.length > 0;
  byId("collections-full").hidden = state.tables.length === 0;
  text(
    "collections-empty",
    state.unreadable
      ? "The warehouse cannot be read at the moment."
      : `Nothing has arrived yet: set objects_url and bulk_url to ${location.origin}.`,
  );
  const { tables, table_count: tableCount, rows } = state;
  draw("tables", { tables, table_count: tableCount, current: rows?.table }, drawTables);
  draw("rows", rows, drawRows);
}

async function update() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  queryNumber += 1;
  const number = queryNumber;
  try {
    const response = await fetch(`/page/state.json?collection=${encodeURIComponent(chosen())}`, {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(String(response.status));
    const state = await response.json();
    if (number !== queryNumber || paused) return;
    show(state);
    status("live", "Live");
  } catch (error) {
    if (number !== queryNumber || paused) return;
    console.info(`no response: ${error.message}`);
    before = null;
    status("stopped", "No response; trying again");
  }
  timer = setTimeout(update, EVERY_MS);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  before = null;
  byId("pause").setAttribute("aria-pressed", String(paused));
  text("pause", paused ? "Resume" : "Pause");
  status(paused ? "paused" : "waiting", paused ? "Paused" : "Connecting");
  update();
});

byId("tables").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) location.hash = encodeURIComponent(button.dataset.name);
});

addEventListener("hashchange", update);
document.addEventListener("visibilitychange", update);
text("address", location.origin);
update();
