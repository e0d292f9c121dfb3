// What the page cannot do alone: light up the numbers that a number was made of, and grade the paper drill.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const worked = document.querySelector(".worked");
  const readout = document.querySelector(".readout");
  const cells = new Map(); // of each array by name, in the order of its flat index, over the tables of a stack
  all("[data-of]", worked).forEach((table) => {
    const of = table.dataset.of;
    cells.set(of, [...(cells.get(of) ?? []), ...all("tbody td", table)]);
  });
  const origin = new Map([...cells].flatMap(([of, list]) => list.map((cell) => [cell, of])));

  const said = (cell) => {
    const { caption } = cell.closest("table");
    const axes = caption.querySelector(".of").textContent.match(/\d+/g)?.length ?? 0;
    const title = caption.firstChild.textContent.trim();
    const [, name, matrix] = axes > 2 ? /^(.*)\[(.*)\]$/.exec(title) : [null, title, ""]; // of a stack: y[0, 1]
    const row = cell.parentElement.querySelector("th").textContent;
    const place = [matrix, axes > 1 ? row : "", axes > 0 ? cell.cellIndex - 1 : ""].filter((each) => each !== "");
    return `${name}${place.length ? `[${place.join(", ")}]` : ""} = ${cell.textContent}`;
  };

  const show = (cell) => {
    all(".lit, .picked", worked).forEach((each) => each.classList.remove("lit", "picked"));
    cell.classList.add("picked");
    const used = cell.dataset.uses.split(";").map((part) => {
      const [of, ...places] = part.split(" ");
      return [of, places.map((i) => cells.get(of)?.[i]).filter(Boolean)];
    });
    used.forEach(([, list]) => list.forEach((each) => each.classList.add("lit")));
    const told = used.filter(([, list]) => list.length).map(([, list]) => {
      const few = list.slice(0, 4).map(said).join(", ");
      return list.length > 4 ? `${few} and ${list.length - 4} more` : few;
    });
    readout.textContent = `${said(cell)}, made of ${told.join("; ") || "no other number"}.`;
  };

  // One stop of the Tab key in each table; the arrow keys go on from there.
  const focusable = all("td[data-uses]", worked);
  focusable.forEach((cell) => {
    cell.tabIndex = cells.get(origin.get(cell))[0] === cell ? 0 : -1;
    cell.addEventListener("focus", () => {
      cells.get(origin.get(cell)).forEach((each) => (each.tabIndex = each === cell ? 0 : -1));
      show(cell);
    });
    cell.addEventListener("click", () => cell.focus());
    cell.addEventListener("keydown", (event) => {
      const list = cells.get(origin.get(cell));
      const columns = cell.parentElement.cells.length - 1;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      const next = list[list.indexOf(cell) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  });
  if (focusable.length) {
    readout.hidden = false;
    all(".live").forEach((each) => (each.hidden = false));
  }

  const read = (text) => {
    const plain = text.trim().replace("−", "-").replace(",", ".");
    return plain === "" ? null : Number(plain);
  };

  const grade = (paper) => {
    const tolerance = Number(paper.dataset.tolerance);
    const fields = all("input", paper);
    let right = 0;
    let filled = 0;
    fields.forEach((field) => {
      const value = read(field.value);
      const good = value !== null && Math.abs(value - Number(field.dataset.answer)) <= tolerance;
      const cell = field.parentElement;
      right += good;
      filled += value !== null;
      cell.className = value === null ? "" : good ? "right" : "wrong";
      field.nextElementSibling.textContent = value === null ? "" : good ? "✓" : "✗";
      field.setAttribute("aria-invalid", String(value !== null && !good));
    });
    const verdict = right === fields.length ? "All right: this is the gradient." : `${fields.length - filled} still empty.`;
    paper.querySelector("[role=status]").textContent = `${right} of ${fields.length} right. ${verdict}`;
  };

  all(".paper").forEach((paper) => {
    paper.querySelector(".grade").hidden = false;
    paper.querySelector("[data-grade]").addEventListener("click", () => grade(paper));
    paper.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.tagName === "INPUT") grade(paper);
    });
  });
  // What scrolls is a stop of the Tab key, so that the arrow keys reach its end; what does not scroll is none.
  const regions = all("[role=region]");
  const mark = () => {
    const scrolls = regions.map((region) => region.scrollWidth > region.clientWidth);
    regions.forEach((region, i) => (scrolls[i] ? region.setAttribute("tabindex", "0") : region.removeAttribute("tabindex")));
  };
  addEventListener("resize", mark);
  mark();

  addEventListener("beforeprint", () => all("details").forEach((each) => (each.open = true)));
})();
