// Choosing and editing numbers.

const readout = document.querySelector(".readout");

// All places of the symbol that the pointer is on

const symbols = all(".symbol");
const symbolOf = (e) => e?.dataset.of ?? e?.textContent;
const classOf = new Map(symbols.map((e) => [symbolOf(e), e.classList[1]]));
document.addEventListener("pointerover", ({ target }) => {
  const name = symbolOf(target.closest?.(".symbol"));
  symbols.forEach((e) => e.classList.toggle("hot", symbolOf(e) === name));
});

// The arithmetic of the chosen number

const html = (part) => {
  if (typeof part === "string") return part;
  const make = (tag, ...children) => {
    const element = document.createElement(tag);
    element.append(...children);
    return element;
  };
  if (part.power) return make("sup", ...part.power.map(html));
  const symbol = make("var", part.name, ...(part.at.length ? [make("sub", part.at.join(","))] : []));
  symbol.className = classOf.get(part.name) ?? "";
  return symbol;
};
const cellsUsed = (used) => used.flatMap(([k, i]) => {
  const { name } = graph.nodes[k];
  if (!(name in program.shown)) return cellsUsed(explain(k, i).used); // without a table: what it is made of
  const { op, of, map } = graph.nodes[program.shown[name]]; // the table may have another shape
  return cells.get(name)?.[op === "pick" && of[0] === k ? map.indexOf(i) : i] ?? [];
});
let chosen = null; // by focus or click; what the pointer is over is shown before it
const show = (cell = chosen) => {
  all(".lit, .picked", worked).forEach((each) => each.classList.remove("lit", "picked"));
  readout.hidden = !cell;
  if (!cell) return;
  const { name, i } = origin.get(cell);
  const node = graph.nodes[program.shown[name]];
  cell.classList.add("picked");
  const symbol = { name, at: position(node.shape, i) };
  const { expression, used } = explain(program.shown[name], i);
  if (name in program.inputs) {
    readout.replaceChildren(html(symbol), ` = ${readable(expression.value)}`);
    return;
  }
  cellsUsed(used).filter((each) => each !== cell).forEach((each) => each.classList.add("lit"));
  readout.replaceChildren(...arithmetic(symbol, expression).map((sides, n) => {
    const line = document.createElement("p");
    sides.forEach((side, k) => line.append(...(k ? [" = "] : n ? ["where "] : []), ...side.map(html)));
    return line;
  }));
};
const choose = (cell) => show((chosen = cell));

// Editing

const next = (cell, by) => { // the number after a step: the next choice, or a tenth more
  const { name, i } = origin.get(cell);
  const { choices } = program.inputs[name];
  if (!choices) return Number((given[name][i] + by / 10).toFixed(10));
  const n = choices.length;
  return choices[(((choices.indexOf(given[name][i]) + by) % n) + n) % n];
};
const change = (cell, v) => {
  given[origin.get(cell).name][origin.get(cell).i] = v;
  recompute();
};
const edit = (cell) => {
  const { name, i } = origin.get(cell);
  if (program.inputs[name].choices) {
    change(cell, next(cell, 1));
    return;
  }
  const old = given[name][i];
  const field = document.createElement("input");
  Object.entries({ type: "number", step: 0.1, value: old, "aria-label": `${name}[${position(program.inputs[name].shape, i)}]` })
    .forEach((pair) => field.setAttribute(...pair));
  field.addEventListener("input", () => { if (field.value) change(cell, Number(field.value)); });
  field.addEventListener("blur", () => {
    field.remove();
    change(cell, given[name][i]);
  });
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    if (event.key === "Escape") given[name][i] = old;
    cell.focus();
  });
  cell.replaceChildren(field);
  field.focus();
  field.select();
};

// One stop of the Tab key in each table; the arrow keys go on from there. Enter or a digit edits.

const editable = (cell) => origin.get(cell).name in program.inputs;
origin.forEach(({ i }, cell) => {
  cell.tabIndex = i ? -1 : 0;
  cell.classList.add(editable(cell) ? "editable" : "computed");
});
const cellOf = ({ target }) => [target.closest?.("tbody td")].find((cell) => origin.has(cell));
worked.addEventListener("focusin", (event) => {
  const cell = cellOf(event);
  if (!cell) return;
  cells.get(origin.get(cell).name).forEach((each) => { each.tabIndex = each === cell ? 0 : -1; });
  choose(cell);
});
worked.addEventListener("keydown", (event) => {
  const cell = cellOf(event);
  if (!cell) return;
  const list = cells.get(origin.get(cell).name);
  const columns = cell.parentElement.cells.length - 1;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  const to = list[list.indexOf(cell) + step];
  if (to) {
    event.preventDefault();
    to.focus();
  } else if (event.key === "Escape") {
    cell.blur();
    choose(null);
  } else if (editable(cell) && /^([\d.-]|Enter| )$/.test(event.key)) {
    if (/Enter| /.test(event.key)) event.preventDefault();
    edit(cell); // a digit replaces the number
  }
});
worked.addEventListener("pointerover", (event) => { if (!dragged) show(cellOf(event) ?? chosen); });
worked.addEventListener("pointerleave", () => show());

// A drag sideways changes an input; a click without one edits it.

let dragged = null;
const PIXELS = 8; // to the next step
worked.addEventListener("pointerdown", (event) => {
  const cell = cellOf(event);
  if (!cell || event.button !== 0 || cell.firstElementChild) return;
  cell.focus();
  if (!editable(cell)) return;
  event.preventDefault(); // no text is selected
  dragged = { cell, x: event.clientX, moved: 0 };
  cell.setPointerCapture(event.pointerId);
});
worked.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const steps = Math.trunc((event.clientX - dragged.x) / PIXELS);
  if (steps === dragged.moved) return;
  change(dragged.cell, next(dragged.cell, steps - dragged.moved));
  [dragged.moved, dragged.any] = [steps, true];
});
["pointerup", "pointercancel"].forEach((kind) => worked.addEventListener(kind, () => {
  const { cell, any } = dragged ?? {};
  dragged = null;
  if (cell && !any && kind === "pointerup") edit(cell);
}));

const ACTIONS = { newDy, reset };
all("[data-do]").forEach((button) => button.addEventListener("click", () => ACTIONS[button.dataset.do]()));
document.querySelector(".tools").hidden = false;
