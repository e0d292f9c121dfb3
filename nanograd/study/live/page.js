// The page's numbers, which follow every edit.
const program = JSON.parse(document.getElementById("program").textContent);
const graph = compile(program.nodes, program.inputs);
const original = Object.fromEntries(Object.entries(program.inputs).map(([name, { data }]) => [name, data.map(Number)]));
let given = structuredClone(original);
let values = graph.run(given);

const offBy = (v) => { // as markup.error: two digits, and powers of ten where it is small
  if (!Number.isFinite(v)) return "not finite";
  return v === 0 || v >= 1e-3 ? general(v, 2) : exponential(scientific(v, 2));
};
const readable = (v) => general(v).replace("-", "−");
const even = (v) => (v % 1 === 0.5 || v % 1 === -0.5 ? 2 * Math.round(v / 2) : Math.round(v)); // a tie to the even one
const largest = (list) => list.reduce((m, v) => (Math.abs(v) > m ? Math.abs(v) : m), 0);
const apart = (a, b) => a.reduce((m, v, i) => (Math.abs(v - b[i]) <= m ? m : Math.abs(v - b[i])), 0); // NaN stays

// Tables

const cellsOf = (root) => {
  const cells = new Map();
  all("table[data-of]", root).forEach((table) => {
    cells.set(table.dataset.of, [...(cells.get(table.dataset.of) ?? []), ...all("tbody td", table)]);
  });
  return cells;
};
const worked = document.querySelector(".worked");
const cells = cellsOf(worked); // of each array by name, in the order of its flat index, over the tables of a stack
const origin = new Map([...cells].flatMap(([name, list]) => list.map((cell, i) => [cell, { name, i }])));
const fill = (list, data, node) => (list ?? []).forEach((cell, i) => {
  if (cell.firstElementChild) return; // it is being edited
  cell.textContent = node?.bool ? (data[i] ? "True" : "False") : general(data[i]);
});
const heat = (table, list) => { // as nanograd/inspect/player/html.py draws it
  const most = largest(list) || 1;
  const unit = Number(`1e${Math.floor(Math.log10(most)) - 1}`) || 1;
  table.caption.textContent = table.caption.textContent.replace(/ in units of .*/, ` in units of ${general(unit, 6)}`);
  table.parentElement.ariaLabel = table.caption.textContent;
  all("tbody td", table).forEach((cell, i) => {
    const v = list[i];
    const tint = even((4 * Math.abs(v)) / most) || 0;
    cell.className = tint ? `${v < 0 ? "n" : "p"}${Math.min(tint, 4)}` : "";
    cell.textContent = even(v / unit) + 0;
  });
};

// The sections after the worked example. An element has its numbers by `data-live`, and the input by `data-by`.

const SEEN = 1e-7; // a smaller error is rounding
const ones = () => given.dy.map(() => 1);
const right = (name, dy) => graph.gradient(program.y, name, given, dy);
const SECTIONS = {
  jacobian: (root, name) => {
    const dense = given.dy.map((_, k) =>
      graph.run({ ...given, dy: given.dy.map((__, i) => Number(i === k)) }, program.gradients[name]));
    const map = root.querySelector(".heat");
    const columns = map.tHead.rows[0].cells.length - 1;
    heat(map, dense.slice(0, map.tBodies[0].rows.length).flatMap((row) => row.slice(0, columns)));
    const product = given[name].map((_, i) => dense.reduce((sum, row, k) => sum + given.dy[k] * row[i], 0));
    const gradient = values[program.gradients[name]];
    Object.entries({ product, gradient }).forEach(([key, list]) => fill(cellsOf(root).get(key), list));
    root.querySelector("[data-error]").textContent = offBy(apart(product, gradient));
    document.querySelector("[data-zeros]").textContent = dense.flat().filter((v) => v === 0).length;
  },
  differences: (root, name) => {
    const [analytic, numeric] = [values[program.gradients[name]], right(name, given.dy)];
    const maps = [analytic, numeric, analytic.map((v, i) => v - numeric[i])];
    all(".heat", root).forEach((table, i) => heat(table, maps[i]));
  },
  spot: (root, name) => {
    const dy = "random" in root.dataset ? given.dy : ones();
    const [want, got] = [right(name, dy), wrong(Number(root.dataset.mistake), name, dy)];
    const own = cellsOf(root);
    const rounded = (list) => list.map((v) => even(v * 1e9) / 1e9);
    Object.entries({ dy, right: rounded(want), got: rounded(got) }).forEach(([key, list]) => fill(own.get(key), list));
    const error = mistaken(Number(root.dataset.mistake), dy);
    root.className = error > SEEN ? "caught" : "fooled";
    root.querySelector(".verdict").textContent = `${error > SEEN ? "✓" : "⚠"} largest error ${offBy(error)}: the test ${
      error > SEEN ? "fails, as it should" : "passes, though the backward is wrong"}.`;
  },
};
const wrong = (k, name, dy) => graph.run({ ...given, dy }, program.mistakes[k][name]);
const mistaken = (k, dy) => Math.max(...Object.keys(program.gradients).map((name) => {
  if (!(name in program.mistakes[k])) return Infinity;
  const want = right(name, dy);
  const error = apart(wrong(k, name, dy), want) / Math.max(1, largest(want));
  return Number.isFinite(error) ? error : Infinity;
}));
const fillMistakes = () => all(".mistakes tbody tr").forEach((row, k) => {
  row.classList.toggle("stale", !program.mistakes[k]);
  if (program.mistakes[k]) [ones(), given.dy].forEach((dy, column) => {
    const error = mistaken(k, dy);
    const verdict = error === Infinity ? "" : error > SEEN ? " seen" : " <b>unseen</b>";
    row.cells[3 + column].innerHTML = verdict ? `<code>${offBy(error)}</code>${verdict}` : "wrong shape, or not finite";
  });
});

// Recomputing: tables at once, what takes longer when the browser draws

const sections = all("[data-live]").filter((e) => e.dataset.live !== "spot" || program.mistakes[e.dataset.mistake]);
const before = [...sections, ...all(".mistakes tbody, [data-zeros]"), ...origin.keys()].map((e) => [e, e.innerHTML]);
let due = 0;
const finish = () => {
  cancelAnimationFrame(due);
  due = 0;
  sections.forEach((root) => SECTIONS[root.dataset.live](root, root.dataset.by));
  fillMistakes();
};
const recompute = () => {
  values = graph.run(given);
  Object.entries(program.shown).forEach(([name, k]) => fill(cells.get(name), values[k], graph.nodes[k]));
  due ||= requestAnimationFrame(finish);
  document.body.classList.add("edited");
  show();
};
const setAll = (inputs) => {
  given = structuredClone(inputs);
  recompute();
};
const reset = () => {
  setAll(original);
  finish();
  before.forEach(([e, html]) => { e.innerHTML = html; }); // also rounding errors
  mark(); // the stops of the Tab key, see study.js
  document.body.classList.remove("edited");
};
let state = 1;
const random = () => (state = (state * 1664525 + 1013904223) % 2 ** 32) / 2 ** 32; // the same dys on every visit
const newDy = () => {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  setAll({ ...given, dy: given.dy.map(() => Math.round(normal() * 100) / 100 || 0.5) });
};
