// Show one state of the text at a time. Without this script all of them are there, one below the other.
const states = all(".state");
const scrub = document.querySelector("[data-scrub]");

const go = (to) => {
  const at = Math.min(Math.max(to, 0), states.length - 1);
  states.forEach((state, i) => (state.hidden = i !== at));
  scrub.value = at;
  document.querySelector("[data-at]").textContent = at;
  all("[data-go]").forEach((button) => {
    const next = at + Number(button.dataset.go);
    button.setAttribute("aria-disabled", String(next < 0 || next >= states.length));
  });
  mark(); // what was hidden has had no width
};

scrub.addEventListener("input", () => go(Number(scrub.value)));
all("[data-go]").forEach((button) =>
  button.addEventListener("click", () => go(Number(scrub.value) + Number(button.dataset.go))),
);
all(".live").forEach((part) => (part.hidden = false));
addEventListener("beforeprint", () => states.forEach((state) => (state.hidden = false)));
addEventListener("afterprint", () => go(Number(scrub.value)));
go(0);
