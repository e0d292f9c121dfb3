// Evaluates the graph of live/graph.py in float64, as NumPy does.
// Shapes never change: `compile` works out once all that depends on them.
// evaluator.js, explain.js, page.js and select.js are one script, in this order.
"use strict";
const range = (n) => Array.from({ length: n }, (_, i) => i);
const size = (shape) => shape.reduce((n, m) => n * m, 1);
const steps = (shape) => shape.map((_, axis) => size(shape.slice(axis + 1))); // entries from one to the next, by axis

// The flat index that each multi-index leads to, if one step along axis k moves on by move[k].
const walk = (shape, move, start = 0) => range(size(shape)).map((flat) => {
  let at = start;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const k = flat % shape[axis];
    flat = (flat - k) / shape[axis];
    at += k * move[axis];
  }
  return at;
});
const broadcast = (shapes) => {
  const n = Math.max(...shapes.map((shape) => shape.length));
  return range(n).map((axis) => {
    const sizes = shapes.map((shape) => shape[axis - n + shape.length] ?? 1);
    return sizes.find((m) => m !== 1) ?? 1;
  });
};
const stretch = (shape, to) => {
  const move = steps(shape).map((step, axis) => (shape[axis] === 1 ? 0 : step));
  return walk(to, [...range(to.length - shape.length).fill(0), ...move]);
};

const power = (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b); // 1**NaN is 1 in C
const erf = (x) => { // a series whose terms have one sign: no digit cancels
  if (!(Math.abs(x) < 6)) return Number.isNaN(x) ? x : Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
};
const ELEMENTWISE = {
  "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b, "**": power,
  "%": (a, b) => a - b * Math.floor(a / b), neg: (a) => -a,
  erf,
};
const LOGICAL = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "==": (a, b) => a === b,
  "!=": (a, b) => a !== b, and: (a, b) => a && b, or: (a, b) => a || b, not: (a) => !a,
};
const total = (list) => list.reduce((a, b) => a + b, 0);
const FOLDS = {
  sum: total, mean: (list) => total(list) / list.length, prod: size, max: (list) => Math.max(...list),
  min: (list) => Math.min(...list), any: (list) => Number(list.some(Boolean)),
};

// Of each node: shape, the nodes it reads (of), whether it is true or false (bool), and compute(values of all nodes).
const compile = (nodes, inputs) => {
  const made = [];
  const build = {
    const: (shape, data, bool) => {
      const numbers = data.map(Number);
      return { shape, bool: Boolean(bool), of: [], compute: () => numbers };
    },
    in: (shape, name) => ({ shape, name, bool: Boolean(inputs[name].bool), of: [], compute: (_, given) => given[name] }),
    name: (name, a) => ({ shape: made[a].shape, bool: made[a].bool, name, of: [a], compute: (values) => values[a] }),
    pick: (shape, a, moves, start) => {
      const map = start === undefined ? moves : walk(shape, moves, start);
      return { shape, map, bool: made[a].bool, of: [a], compute: (values) => map.map((i) => values[a][i]) };
    },
    join: (shape, of, at) => { // entries of several arrays; `at` counts through all of them
      const all = of.flatMap((a) => range(size(made[a].shape)).map((i) => [a, i]));
      const from = at.map((i) => all[i]);
      return { shape, from, of, bool: of.every((a) => made[a].bool), compute: (values) => from.map(([a, i]) => values[a][i]) };
    },
    at: (a, flat) => ({ shape: made[flat].shape, of: [a, flat], compute: (values) => values[flat].map((i) => values[a][i]) }),
    put: (a, flat, b) => ({ shape: made[a].shape, of: [a, flat, b], compute: (values) => {
      const data = [...values[a]];
      values[flat].forEach((i, k) => { data[i] = values[b][k]; });
      return data;
    } }),
    where: (c, a, b) => {
      const shape = broadcast([c, a, b].map((each) => made[each].shape));
      const maps = [c, a, b].map((each) => stretch(made[each].shape, shape));
      return { shape, maps, of: [c, a, b], compute: (values) => maps[0].map((k, i) =>
        (values[c][k] ? values[a][maps[1][i]] : values[b][maps[2][i]])) };
    },
    fold: (kind, a, axes, keep) => {
      const full = made[a].shape;
      const move = steps(full);
      const kept = range(full.length).filter((axis) => !axes.includes(axis));
      const starts = walk(kept.map((axis) => full[axis]), kept.map((axis) => move[axis]));
      const offsets = walk(axes.map((axis) => full[axis]), axes.map((axis) => move[axis]));
      const terms = starts.map((first) => offsets.map((k) => first + k));
      const shape = keep ? full.map((n, axis) => (axes.includes(axis) ? 1 : n)) : kept.map((axis) => full[axis]);
      const f = FOLDS[kind];
      return { shape, kind, terms, bool: kind === "any", of: [a],
        compute: (values) => terms.map((list) => f(list.map((i) => values[a][i]))) };
    },
  };
  const elementwise = (op, of) => {
    const f = ELEMENTWISE[op] ?? LOGICAL[op] ?? Math[op];
    const shape = broadcast(of.map((a) => made[a].shape));
    const maps = of.map((a) => stretch(made[a].shape, shape));
    const compute = of.length === 1 ? ([a]) => a.map((v) => Number(f(v)))
      : ([a, b]) => maps[0].map((k, i) => Number(f(a[k], b[maps[1][i]])));
    return { shape, maps, bool: op in LOGICAL, of, compute: (values) => compute(of.map((a) => values[a])) };
  };
  nodes.forEach(([op, ...rest]) => made.push({ op, ...(build[op]?.(...rest) ?? elementwise(op, rest)) }));

  const orders = new Map(); // of a node: all that must be computed for it
  const order = (wanted) => {
    if (!orders.has(wanted)) {
      const needed = new Set();
      const need = (k) => { if (!needed.has(k)) { needed.add(k); made[k].of.forEach(need); } };
      need(wanted);
      orders.set(wanted, [...needed].sort((a, b) => a - b));
    }
    return orders.get(wanted);
  };
  const all = range(nodes.length);
  const run = (given, wanted) => {
    const values = [];
    (wanted === undefined ? all : order(wanted)).forEach((k) => { values[k] = made[k].compute(values, given); });
    return wanted === undefined ? values : values[wanted];
  };

  // The derivative of a node along a direction of an input, as nanograd/check/numeric.py measures it.
  const slope = (wanted, name, direction, given, weight) => {
    const at = (h) => {
      const y = run({ ...given, [name]: given[name].map((x, i) => x + h * direction[i]) }, wanted);
      return weight ? [total(y.map((v, i) => v * weight[i]))] : y;
    };
    const central = [1e-3, 5e-4, 2.5e-4].map((h) => {
      const [up, down] = [at(h), at(-h)];
      return up.map((v, i) => (v - down[i]) / (2 * h));
    });
    return central[0].map((one, i) => {
      const [two, four] = [central[1][i], central[2][i]];
      return (16 * ((4 * four - two) / 3) - (4 * two - one) / 3) / 15;
    });
  };
  const gradient = (wanted, name, given, weight) => given[name].map((_, i) =>
    slope(wanted, name, given[name].map((__, k) => Number(k === i)), given, weight)[0]);
  return { nodes: made, run, gradient };
};
