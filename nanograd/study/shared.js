// Shared by all study pages.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Numbers as Python's f"{v:.4g}": a tie goes to the even digit
const scientific = (v, n) => { // n digits, and the power of ten
  const [mantissa, power] = v.toExponential(n - 1).split("e");
  const tie = /^50*$/.test(v.toExponential(40).split("e")[0].split(".")[1].slice(n - 1)) && mantissa.at(-1) % 2;
  return [(tie ? Number(mantissa) - Math.sign(v) * 10 ** (1 - n) : Number(mantissa)).toFixed(n - 1), Number(power)];
};
const exponential = ([mantissa, power]) => `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
const general = (v, n = 4) => {
  if (!Number.isFinite(v)) return String(v).toLowerCase().replace("infinity", "inf");
  const [mantissa, power] = scientific(v, n);
  return power < -4 || power >= n ? exponential([Number(mantissa), power]) : String(Number(`${mantissa}e${power}`));
};

// What scrolls is a stop of the Tab key; nothing else is.
const mark = () => {
  const scrolls = all("[role=region]").map((region) => [region, region.scrollWidth > region.clientWidth]);
  scrolls.forEach(([region, yes]) => (yes ? region.setAttribute("tabindex", "0") : region.removeAttribute("tabindex")));
};
addEventListener("resize", mark);
addEventListener("toggle", mark, true); // folds have no width before
addEventListener("DOMContentLoaded", mark);
