// What the pages of topics share. A page's own script calls live(compute): compute takes the numbers that the reader
// has entered, by name, and returns those to show, by name. Everything it shows was in the page before, from Python.
const show = (value) => (typeof value === "string" ? value : general(value));

// The numbers entered: a control by its name, the cells of a table as a list of rows. Null if one is not allowed.
const read = () => {
  const values = {};
  const wrong = [];
  for (const input of all("[data-in]")) {
    const bad = !input.checkValidity();
    input.setAttribute("aria-invalid", String(bad));
    if (bad) wrong.push(input);
    const name = input.dataset.in;
    const row = input.closest("td") && input.closest("tr");
    if (!row) values[name] = Number(input.value);
    else if (input.closest("td").previousElementSibling.matches("th")) (values[name] ??= []).push([Number(input.value)]);
    else values[name].at(-1).push(Number(input.value));
  }
  const limits = ({ min, max, step }) =>
    `a${step === "1" ? " whole" : ""} number${min === "" ? "" : ` from ${min} to ${max}`}; the tables show the last one`;
  const problem = wrong.length ? `${nameOf(wrong[0])} must be ${limits(wrong[0])}.` : "";
  all(".problem").forEach((part) => (part.textContent = problem));
  return wrong.length ? null : values;
};
const nameOf = (input) => input.getAttribute("aria-label") ?? input.labels[0].textContent;

// The layout of chart.py. A curve is a pair [xs, ys].
const CHART = { width: 560, height: 280, left: 62, right: 16, top: 14, bottom: 42 };
const tenth = (x) => Math.floor(x * 10 + 0.5) / 10;
const ENDS = [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12];
const roundUp = (largest) => {
  if (!(largest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(largest));
  return power * ENDS.find((digits) => digits * power >= largest * (1 - 1e-9));
};
const redraw = (svg, lines) => {
  const { width, height, left, right, top, bottom } = CHART;
  const log = "low" in svg.dataset;
  const xs = Object.values(lines).flatMap(([x]) => x);
  const ys = Object.values(lines).flatMap(([, y]) => y).filter(Number.isFinite);
  const [first, last] = [Math.min(0, ...xs), Math.max(...xs)];
  const [low, high] = log ? [Number(svg.dataset.low), Number(svg.dataset.high)] : [0, roundUp(Math.max(...ys))];
  const across = (x) => tenth(left + ((width - left - right) * (x - first)) / (last - first || 1));
  const up = (y) => {
    const value = log ? (y > 0 ? Math.log10(y) : -Infinity) : y;
    const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
    return tenth(top + (height - top - bottom) * (1 - share));
  };
  for (const path of all("[data-line]", svg)) {
    const [x, y] = lines[path.dataset.line] ?? [[], []];
    const points = x.map((v, i) => [v, y[i]]).filter(([, v]) => !Number.isNaN(v)).map(([v, w]) => `${across(v)} ${up(w)}`);
    const dots = path.classList.contains("dots");
    const d = dots ? points.map((point) => `M${point}h0`).join("") : `M${points.join("L")}`;
    path.setAttribute("d", points.length ? d : "M0 0");
  }
  const label = (text, i, list, from, to) => (text.textContent = show(from + ((to - from) * i) / (list.length - 1)));
  all("[data-x]", svg).forEach((text, i, list) => label(text, i, list, first, last));
  all("[data-y]", svg).forEach((text, i, list) => label(text, i, list, low, high));
};

// data-value holds a number in full: the text has four digits of it.
const write = (results) => {
  for (const [name, value] of Object.entries(results)) {
    const svg = document.querySelector(`[data-chart="${name}"]`);
    if (svg) {
      redraw(svg, value);
      continue;
    }
    const list = Array.isArray(value) ? value.flat(Infinity) : [value];
    all(`[data-out="${name}"]`).forEach((cell, i) => {
      cell.textContent = show(list[i]);
      cell.dataset.value = String(list[i]);
    });
    all(`[data-bar="${name}"]`).forEach((bar, i) => bar.setAttribute("width", show(100 * list[i])));
  }
};

const live = (compute) => {
  const update = () => {
    const values = read();
    if (values) write(compute(values));
  };
  const sliders = all("[data-slides]");
  const fieldOf = (slider) => document.getElementById(`in-${slider.dataset.slides}`);
  const follow = (slider) => {
    const field = fieldOf(slider);
    const value = Number(field.value);
    slider.value = "log" in field.dataset ? Math.log10(value) : value;
  };
  for (const slider of sliders) {
    const field = fieldOf(slider);
    slider.hidden = false;
    slider.addEventListener("input", () => {
      const at = Number(slider.value);
      let value = "log" in field.dataset ? 10 ** at : at;
      if ("whole" in field.dataset) value = Math.round(value);
      field.value = Number(value.toPrecision(3));
      update();
    });
    field.addEventListener("input", () => follow(slider));
  }
  all("[data-in]").forEach((field) => field.addEventListener("input", update));
  all("[data-reset]").forEach((button) =>
    button.addEventListener("click", () => {
      all("[data-in]").forEach((field) => (field.value = field.defaultValue));
      sliders.forEach(follow);
      update();
    }),
  );
  all(".live").forEach((part) => (part.hidden = false));
  update();
};
