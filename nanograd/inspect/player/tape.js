// Steps through the sections of the page. Every number is in the HTML; this shows one step at a time and marks the drawing.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const steps = all("section.step");
  const drawings = all("svg.graph");
  const panel = document.querySelector(".drawing");
  const status = document.getElementById("status");
  const last = steps.length - 1;
  const contributions = steps.map((step) => all(".contribution", step).map((a) => [a.dataset.target, a.dataset.how]));
  const stepOf = new Map(steps.map((step, i) => [step.dataset.key, i]));
  const controls = document.querySelector(".controls");
  let now = -1;
  let level = drawings.length - 1;

  const requestedStep = () => {
    const match = /^#step=(\d+)$/.exec(location.hash);
    return match ? Math.min(Number(match[1]), last) : Math.max(now, 0);
  };

  const contributionsSoFar = (key) => contributions.slice(0, now + 1).flat().filter(([target]) => target === key).length;

  const markRow = (row) => {
    const keys = row.dataset.keys.split(" ");
    const here = keys.includes(steps[now].dataset.key);
    const hows = here ? [] : contributions[now].filter(([target]) => keys.includes(target)).map(([, how]) => how);
    const done = keys.every((key) => stepOf.has(key) && stepOf.get(key) < now);
    row.classList.toggle("now", here);
    row.classList.toggle("done", done);
    row.classList.toggle("target", hows.length > 0);
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
  };

  const markEdge = (edge) => {
    const from = edge.dataset.users.split(" ").includes(steps[now].dataset.key);
    const made = edge.dataset.made.split(" ");
    edge.classList.toggle("flow", from && contributions[now].some(([target]) => made.includes(target)));
  };

  const markDrawing = () => {
    drawings.forEach((drawing, i) => drawing.toggleAttribute("hidden", i !== level));
    const drawing = drawings[level];
    all(".row", drawing).forEach(markRow);
    all(".edge", drawing).forEach(markEdge);
    const row = drawing.querySelector(".row.now") ?? (now > 0 ? drawing.querySelector(".row") : all(".row", drawing).at(-1));
    const scale = drawing.getBoundingClientRect().height / drawing.viewBox.baseVal.height || 1;
    const box = row.querySelector(".box").getBBox();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    panel.scrollTo({
      top: (box.y + box.height / 2) * scale - panel.clientHeight / 2,
      behavior: still ? "auto" : "smooth",
    });
    document.getElementById("detail").textContent = `detail ${level + 1} of ${drawings.length}`;
    dim("less", level === 0);
    dim("more", level === drawings.length - 1);
  };

  const dim = (name, off) => document.querySelector(`[data-go=${name}]`).setAttribute("aria-disabled", String(off));

  const show = () => {
    const next = requestedStep();
    if (next === now) return;
    now = next;
    steps.forEach((step, i) => step.toggleAttribute("hidden", i !== now));
    markDrawing();
    dim("first", now === 0);
    dim("back", now === 0);
    dim("next", now === last);
    dim("last", now === last);
    if (steps[now].getBoundingClientRect().top < controls.offsetHeight) steps[now].scrollIntoView();
    const headings = all("h4", steps[now]).map((heading) => heading.textContent);
    status.textContent = [steps[now].querySelector("h2").textContent, ...headings].join(". ");
  };

  // A key held down replaces the entry of the history, so that Back does not walk through hundreds of steps.
  const go = (step, held) => {
    const hash = `#step=${Math.max(0, Math.min(last, step))}`;
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
      first: () => go(0, held),
      back: () => go(now - 1, held),
      next: () => go(now + 1, held),
      last: () => go(last, held),
      less: () => zoom(level - 1),
      more: () => zoom(level + 1),
    };
    actions[name]();
  };

  const KEYS = { Home: "first", ArrowLeft: "back", ArrowRight: "next", End: "last", "-": "less", "+": "more" };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    event.preventDefault();
    act(KEYS[event.key], event.repeat);
  });
  all("[data-go]").forEach((button) => button.addEventListener("click", () => act(button.dataset.go, false)));
  addEventListener("hashchange", show);
  steps.forEach((step) => step.removeAttribute("id")); // else the browser scrolls to a step, past controls and drawing
  const rows = (drawing) => drawing.querySelectorAll(".row").length;
  while (level > 0 && rows(drawings[level]) > 90) level -= 1; // begin with a drawing of at most 90 rows
  document.documentElement.classList.add("playing");
  controls.hidden = false;
  show();
})();
