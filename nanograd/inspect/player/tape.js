// Plays the sections of the page, forward and then backward, and explains numbers. Every number is in the HTML, once:
// this shows one step at a time, copies an array to where it is used again, and marks the drawing.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const steps = all("section.step");
  const drawings = all("svg.graph");
  const panel = document.querySelector(".drawing");
  const controls = document.querySelector(".controls");
  const top = document.querySelector(".top");
  const scrubber = byId("scrubber");
  const status = byId("status");
  const box = byId("explain");
  const last = steps.length;
  const contributions = steps.map((step) => all(".contribution", step).map((a) => [a.dataset.target, a.dataset.how]));
  const operands = steps.map((step) => (step.dataset.operands ?? "").split(" "));
  const stepOf = { forward: new Map(), backward: new Map() };
  steps.forEach((step, i) => stepOf[step.dataset.side]?.set(step.dataset.key, i + 1));
  let now = 0; // the step that is shown, from 1 to last
  let level = drawings.length - 1;

  const requestedStep = () => {
    const match = /^#step=(\d+)$/.exec(location.hash);
    return match ? Math.max(1, Math.min(Number(match[1]), last)) : Math.max(now, 1);
  };
  const isForward = () => steps[now - 1].dataset.side === "forward";

  // The drawing

  const contributionsSoFar = (key) => contributions.slice(0, now).flat().filter(([target]) => target === key).length;

  const markRow = (row) => {
    const keys = row.dataset.keys.split(" ");
    const side = isForward() ? "forward" : "backward";
    const here = keys.includes(steps[now - 1].dataset.key);
    const hows = here ? [] : contributions[now - 1].filter(([target]) => keys.includes(target)).map(([, how]) => how);
    const done = keys.every((key) => stepOf[side].has(key) && stepOf[side].get(key) < now);
    row.classList.toggle("now", here);
    row.classList.toggle("done", done);
    row.classList.toggle("target", hows.length > 0);
    row.classList.toggle("operand", !here && operands[now - 1].some((key) => keys.includes(key)));
    let mark = here ? "▶" : done ? "✓" : "";
    if (row.dataset.uses) {
      const count = contributionsSoFar(keys[0]);
      const uses = Number(row.dataset.uses);
      mark = uses > 3 ? `${count}/${uses}` : "●".repeat(count) + "○".repeat(uses - count);
    }
    row.querySelector(".mark").textContent = mark;
    const shape = row.querySelector(".shape");
    shape.dataset.text ??= shape.textContent;
    shape.textContent = hows.length ? `◀ ${hows.join(", ")}` : shape.dataset.text;
    const link = row.closest("a[data-forward]");
    if (link) link.setAttribute("href", `#step=${link.dataset[side]}`);
  };

  const markEdge = (edge) => {
    const used = edge.dataset.users.split(" ").includes(steps[now - 1].dataset.key);
    const made = edge.dataset.made.split(" ");
    edge.classList.toggle("flow", used && contributions[now - 1].some(([target]) => made.includes(target)));
    edge.classList.toggle("feed", used && operands[now - 1].some((key) => made.includes(key)));
  };

  const markDrawing = () => {
    drawings.forEach((drawing, i) => drawing.toggleAttribute("hidden", i !== level));
    const drawing = drawings[level];
    all(".row", drawing).forEach(markRow);
    all(".edge", drawing).forEach(markEdge);
    const row = drawing.querySelector(".row.now") ?? drawing.querySelector(".row");
    const scale = drawing.getBoundingClientRect().height / drawing.viewBox.baseVal.height || 1;
    const outline = row.querySelector(".box").getBBox();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    panel.scrollTo({
      top: (outline.y + outline.height / 2) * scale - panel.clientHeight / 2,
      behavior: still ? "auto" : "smooth",
    });
    byId("detail").textContent = `detail ${level + 1} of ${drawings.length}`;
    dim("less", level === 0);
    dim("more", level === drawings.length - 1);
  };

  const dim = (name, off) => document.querySelector(`[data-go=${name}]`).setAttribute("aria-disabled", String(off));

  // The steps

  // Puts copies of arrays and formulas in the places that name them, when their step is first shown.
  const fill = (step) => {
    for (const place of all("[data-copy]", step)) {
      const copy = byId(place.dataset.copy).cloneNode(true);
      copy.removeAttribute("id");
      copy.dataset.id = place.dataset.copy;
      const caption = copy.querySelector("caption");
      if (caption) {
        caption.querySelector("b").textContent = place.querySelector("b").textContent;
        caption.append(" ", place.querySelector(".from"));
      }
      place.replaceWith(copy);
    }
    if (local) all(".array", step).forEach(makeClickable);
  };

  const show = () => {
    const next = requestedStep();
    if (next === now) return;
    now = next;
    const step = steps[now - 1];
    fill(step);
    steps.forEach((other) => other.toggleAttribute("hidden", other !== step));
    markDrawing();
    scrubber.value = now;
    scrubber.setAttribute("aria-valuetext", step.querySelector("h2").textContent);
    dim("first", now === 1);
    dim("back", now === 1);
    dim("next", now === last);
    dim("last", now === last);
    if (step.getBoundingClientRect().top < top.offsetHeight) step.scrollIntoView();
    status.textContent = all("h2, h4", step).map((heading) => heading.textContent).join(". ");
    markChosen();
  };

  // A key held down replaces the entry of the history, so that Back does not walk through hundreds of steps.
  const go = (step, held) => {
    const hash = `#step=${Math.max(1, Math.min(last, step))}`;
    if (hash === location.hash) return;
    if (held) location.replace(hash);
    else location.hash = hash;
    show();
  };

  const zoom = (to) => {
    level = Math.max(0, Math.min(drawings.length - 1, to));
    markDrawing();
  };

  const act = (name, held) => {
    const actions = {
      first: () => go(1, held),
      back: () => go(now - 1, held),
      next: () => go(now + 1, held),
      last: () => go(last, held),
      less: () => zoom(level - 1),
      more: () => zoom(level + 1),
    };
    actions[name]();
  };

  // The explanation of a number. An entry of a gradient is a sum over the ops that use it:
  // dL/dx_i = Σ_j dy_j ∂y_j/∂x_i, whose derivatives ∂y_j/∂x_i are in the page.

  const data = byId("local");
  const local = data && JSON.parse(data.textContent);
  const opOf = new Map(local ? local.ops.map((op) => [op.key, op]) : []);
  const path = []; // the numbers explained so far: [key of the target, flat index, first use, last use]

  const indexText = (shape, flat) => {
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      index[axis] = flat % shape[axis];
      flat = Math.floor(flat / shape[axis]);
    }
    return index.length ? `[${index.join(", ")}]` : "";
  };

  const text = (value) => {
    if (typeof value !== "number") return String(value);
    const size = Math.abs(value);
    const short = size && (size < 1e-4 || size >= 1e4) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
    return short.replace("-", "−");
  };
  const signed = (value) => (value > 0 ? "+" : "") + text(value);

  // The uses of a target as an input of an op, in the order of the backward.
  const usesOf = (key) =>
    local.ops.flatMap((op) => op.inputs.filter((input) => input.target === key).map((input) => [op, input]));

  const termsOf = (key, index, [first, end]) => {
    const terms = [];
    let complete = true;
    for (const [op, input] of usesOf(key).slice(first, end)) {
      const dy = local.targets[op.key]?.dy;
      if (!input.local || !dy) {
        complete = false;
        continue;
      }
      for (let at = 0; at < input.local.length; at += 3) {
        const [j, i, derivative] = input.local.slice(at, at + 3);
        if (i === index && dy[j] !== 0) terms.push({ key: op.key, j, dy: dy[j], derivative, value: dy[j] * derivative });
      }
    }
    terms.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    return [terms, complete];
  };

  // The entries of its inputs that an entry of an op's result depends on.
  const inputsOf = (key, j) => {
    const entries = [];
    for (const input of opOf.get(key)?.inputs ?? []) {
      for (let at = 0; at < (input.local?.length ?? 0); at += 3) {
        if (input.local[at] === j) entries.push({ key: input.target, i: input.local[at + 1], derivative: input.local[at + 2] });
      }
    }
    return entries;
  };

  const element = (tag, content = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.append(...[content].flat());
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  };
  const nameOf = (key, index, before = "") => {
    const target = local.targets[key];
    const name = target.op ? `y${indexText(target.shape, index)} of ${target.name}` : `${target.name}${indexText(target.shape, index)}`;
    return before + name;
  };
  const entryButton = (key, index) => {
    const button = element("button", nameOf(key, index), { type: "button", class: "entry" });
    button.addEventListener("click", () => explain(key, index));
    return button;
  };
  const table = (caption, head, rows) =>
    element("table", [
      element("caption", caption),
      element("thead", element("tr", head.map((name) => element("th", name, { scope: "col" })))),
      element("tbody", rows.map((row) => element("tr", row.map((cell) => element("td", cell))))),
    ]);
  const stepLink = (step, label) => element("a", `${label} in step ${step}`, { href: `#step=${step}` });

  const draw = () => {
    const [key, index, first, end] = path.at(-1);
    const target = local.targets[key];
    const count = usesOf(key).length;
    const parts = [element("h3", nameOf(key, index))];
    const close = element("button", "Close", { type: "button", "aria-keyshortcuts": "Escape" });
    close.addEventListener("click", hide);
    const bar = element("p", close, { class: "bar" });
    if (path.length > 1) {
      const back = element("button", "← Back", { type: "button" });
      back.addEventListener("click", () => { path.pop(); draw(); box.querySelector("h3").focus(); });
      bar.prepend(back);
    }
    const [computed, finished] = target.steps;
    const value = [`value ${text(target.y?.[index] ?? "not in this page")}`];
    if (computed) value.push(", ", stepLink(computed, "computed"));
    parts.push(bar, element("p", value));
    if (target.dy) {
      const [terms, complete] = termsOf(key, index, [first, end]);
      const sum = terms.reduce((total, term) => total + term.value, 0);
      const whole = first === 0 && end === count;
      const name = whole ? "gradient" : end - first === 1 ? `contribution ${end} of ${count}` : `the first ${end} of ${count} contributions`;
      const heading = count === 0 ? "dL/dL, where the backward begins" : `${name} = the sum of these terms`;
      const total = whole ? target.dy[index] : sum;
      const line = element("p", [element("b", `dL/d ${text(total)}`), ` · ${heading}`]);
      line.firstChild.textContent = `${whole ? "∂L/∂" : "part of ∂L/∂"}${target.op ? "y" : target.name} = ${signed(total)}`;
      if (finished) line.append(" · ", stepLink(finished, "complete"));
      parts.push(line);
      if (terms.length) {
        const rows = terms.map((term) => [signed(term.value), signed(term.dy), signed(term.derivative), entryButton(term.key, term.j)]);
        const terms_ = table("Its terms, largest first", ["term", "= dy", "× ∂y/∂x", "through"], rows);
        terms_.append(element("tfoot", element("tr", [element("td", signed(sum)), element("td", `sum of ${terms.length}`, { colspan: "3" })])));
        parts.push(terms_);
      } else if (count && complete) parts.push(element("p", "No term: nothing that it changes reaches the loss."));
      if (!complete) parts.push(element("p", "The terms through some op are not in this page: its arrays are too large."));
    }
    const entries = inputsOf(key, index);
    if (entries.length) {
      const rows = entries.map((entry) => [text(local.targets[entry.key].y?.[entry.i] ?? "·"), signed(entry.derivative), entryButton(entry.key, entry.i)]);
      parts.push(table("Its value depends on", ["x", "∂y/∂x", "entry"], rows));
    }
    box.replaceChildren(...parts);
    box.querySelector("h3").tabIndex = -1;
    box.hidden = false;
    box.scrollTop = 0;
    markChosen();
  };

  const explain = (key, index, first = 0, end = usesOf(key).length) => {
    path.push([key, index, first, end]);
    draw();
    box.querySelector("h3").focus({ preventScroll: true });
  };

  const hide = () => {
    const chosen = document.querySelector("section.step:not([hidden]) .chosen");
    path.length = 0;
    box.hidden = true;
    markChosen();
    (chosen ?? byId("steps")).focus({ preventScroll: true });
  };

  const cellsOf = (table) => all("tbody td", table);

  // The id of an array says what it holds: the value or the gradient of which target, and which of its contributions.
  const makeClickable = (array) => {
    const [, kind, key, nth] = /^(value|loss|made|sum)-(\w+)(?:-(\d+))?$/.exec(array.id || array.dataset.id || "") ?? [];
    const table = array.querySelector("table");
    const target = local.targets[key];
    if (!target || cellsOf(table).length !== target.shape.reduce((size, n) => size * n, 1)) return; // not whole
    table.dataset.of = key;
    if (kind === "made") table.dataset.gradient = `${nth - 1} ${nth}`;
    if (kind === "sum") table.dataset.gradient = `0 ${nth}`;
    cellsOf(table).forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; }); // one stop of the Tab key; arrows move inside
    table.classList.add("clickable");
  };

  const markChosen = () => {
    const [key, index] = path.at(-1) ?? [];
    for (const table of all("table[data-of]", steps[now - 1])) {
      cellsOf(table).forEach((cell, i) => cell.classList.toggle("chosen", table.dataset.of === key && i === index));
    }
  };

  const choose = (cell) => {
    const table = cell.closest("table");
    path.length = 0;
    const uses = table.dataset.gradient?.split(" ").map(Number) ?? [];
    explain(table.dataset.of, cellsOf(table).indexOf(cell), ...uses);
  };

  const CELL = "table.clickable tbody td";
  const moveInTable = (cell, key) => {
    const cells = cellsOf(cell.closest("table"));
    const columns = cell.parentElement.querySelectorAll("td").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    const next = cells[cells.indexOf(cell) + by];
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };

  // Input

  const KEYS = { Home: "first", ArrowLeft: "back", ArrowRight: "next", End: "last", "-": "less", "+": "more" };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const cell = event.target.closest?.(CELL);
    if (cell && event.key.startsWith("Arrow")) moveInTable(cell, event.key);
    else if (cell && (event.key === "Enter" || event.key === " ")) choose(cell);
    else if (event.key === "Escape" && !box.hidden) hide();
    else if (KEYS[event.key]) act(KEYS[event.key], event.repeat);
    else return;
    event.preventDefault();
  });
  addEventListener("click", (event) => {
    const cell = event.target.closest(CELL);
    if (cell) choose(cell);
  });
  all("[data-go]").forEach((button) => button.addEventListener("click", () => act(button.dataset.go, false)));
  scrubber.addEventListener("input", () => go(scrubber.valueAsNumber, true));
  addEventListener("hashchange", show);

  steps.forEach((step) => step.removeAttribute("id")); // else the browser scrolls to a step, past controls and drawing
  const rows = (drawing) => drawing.querySelectorAll(".row").length;
  while (level > 0 && rows(drawings[level]) > 90) level -= 1; // begin with a drawing of at most 90 rows
  document.documentElement.classList.add("playing");
  controls.hidden = false;
  scrubber.max = last;
  const measure = () => document.documentElement.style.setProperty("--top", `${top.offsetHeight}px`);
  new ResizeObserver(measure).observe(top);
  measure();
  show();
})();
