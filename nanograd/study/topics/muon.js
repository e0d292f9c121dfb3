// What muon.py's repeated(), curves() and marks() compute, for the numbers entered.
const POINTS = 18;
const REPETITIONS = 5;

const repeated = (values, { a, b, c }) => {
  const lines = [];
  for (let n = 0; n < REPETITIONS; n++) {
    values = values.map((s) => s * (a + s * s * (b + c * (s * s))));
    lines.push(values);
  }
  return lines;
};
const root = (square) => (square >= 0 ? Math.sqrt(square) : NaN);
const marks = ({ a, b, c }) => {
  const value = (s) => s * (a + s * s * (b + c * s * s));
  const fixed = root((-b - root(b * b - 4 * c * (a - 1))) / (2 * c));
  const swing = root(9 * b * b - 20 * a * c);
  return {
    fixed,
    slope: a + fixed * fixed * (3 * b + 5 * c * fixed * fixed),
    top: value(root((-3 * b - swing) / (10 * c))),
    bottom: value(root((-3 * b + swing) / (10 * c))),
  };
};

live((values) => {
  const lines = {};
  for (let n = 1; n <= REPETITIONS; n++) {
    const s = Array.from({ length: n * POINTS + 1 }, (_, i) => (i / (n * POINTS)) * (i / (n * POINTS)));
    lines[n === 1 ? "p(s)" : `${n} repetitions`] = [s, repeated(s, values)[n - 1]];
  }
  return { repeated: lines, after: repeated(values.s[0], values), ...marks(values) };
});
