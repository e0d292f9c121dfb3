// The paper drill.
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

addEventListener("beforeprint", () => all("details").forEach((each) => (each.open = true)));
