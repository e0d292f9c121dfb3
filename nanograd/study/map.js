// Which pages were read: ticks that the browser keeps, where it lets a page on disk keep anything.
"use strict";
(() => {
  const KEY = "pages read";
  let read;
  try {
    read = new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
    localStorage.setItem(KEY, JSON.stringify([...read])); // throws where storage is blocked, also for writing only
  } catch {
    return; // then there is nothing to tick
  }
  document.querySelectorAll("[data-read]").forEach((box) => {
    box.checked = read.has(box.dataset.read);
    box.parentElement.hidden = false;
    box.addEventListener("change", () => {
      read[box.checked ? "add" : "delete"](box.dataset.read);
      localStorage.setItem(KEY, JSON.stringify([...read]));
    });
  });
})();
