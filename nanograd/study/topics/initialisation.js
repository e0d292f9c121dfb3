// The formulas and the simulation of initialisation.py, with the same random numbers.
const [WIDTH, ROWS, DEEPEST] = [64, 8, 60];

// mulberry32: a generator of 32 bits, the same in NumPy.
const generator = (seed) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1) >>> 0;
    z = (z ^ (z + Math.imul(z ^ (z >>> 7), z | 61))) >>> 0;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
};

// Two numbers from N(0, 1) at a time (Box and Muller).
const normals = (seed, count) => {
  const next = generator(seed);
  const list = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    list[i] = radius * Math.cos(angle);
    list[i + 1] = radius * Math.sin(angle);
  }
  return list;
};

const INPUT = normals(1, ROWS * WIDTH);
const MATRICES = normals(2, DEEPEST * WIDTH ** 2); // a matrix for each layer

// x (ROWS, WIDTH) times the transposed matrix of a layer, times std.
const times = (x, layer, std) => {
  const y = new Float64Array(x.length);
  for (let row = 0; row < ROWS; row += 1) {
    for (let j = 0; j < WIDTH; j += 1) {
      const start = (layer * WIDTH + j) * WIDTH;
      let total = 0;
      for (let i = 0; i < WIDTH; i += 1) total += x[row * WIDTH + i] * std * MATRICES[start + i];
      y[row * WIDTH + j] = total;
    }
  }
  return y;
};

const rms = (x) => Math.sqrt(x.reduce((total, value) => total + value * value, 0) / x.length);

const normalise = (x) => {
  const y = new Float64Array(x.length);
  for (let row = 0; row < ROWS; row += 1) {
    const line = x.subarray(row * WIDTH, (row + 1) * WIDTH);
    const mean = line.reduce((total, value) => total + value, 0) / WIDTH;
    const std = Math.sqrt(line.reduce((total, value) => total + (value - mean) ** 2, 0) / WIDTH);
    line.forEach((value, i) => (y[row * WIDTH + i] = (value - mean) / std));
  }
  return y;
};

// The sizes after each of `count` layers, where step makes the next activations from the last.
const simulate = (count, step) => {
  let x = INPUT;
  const sizes = [rms(x)];
  for (let layer = 0; layer < count; layer += 1) {
    x = step(x, layer);
    sizes.push(rms(x));
  }
  return sizes;
};

const stack = (std, depth) => {
  const start = rms(INPUT);
  const power = (gain) => Array.from({ length: depth + 1 }, (_, layer) => start * gain ** layer);
  return {
    "linear (1)": power(std * Math.sqrt(WIDTH)),
    "linear, simulated": simulate(depth, (x, layer) => times(x, layer, std)),
    "ReLU (2)": power(std * Math.sqrt(WIDTH / 2)),
    "ReLU, simulated": simulate(depth, (x, layer) => times(x, layer, std).map((value) => Math.max(value, 0))),
  };
};

const stream = (branch, blocks) => {
  const count = 2 * blocks;
  const scaled = branch / Math.sqrt(count);
  const start = rms(INPUT);
  const formula = (std) => Array.from({ length: count + 1 }, (_, i) => Math.sqrt(start ** 2 + i * WIDTH * std ** 2));
  const add = (std) => (x, layer) => times(normalise(x), layer, std).map((value, i) => value + x[i]);
  return {
    "unscaled (3)": formula(branch),
    "unscaled, simulated": simulate(count, add(branch)),
    "scaled (4)": formula(scaled),
    "scaled, simulated": simulate(count, add(scaled)),
  };
};

const curves = (lines) =>
  Object.fromEntries(Object.entries(lines).map(([name, line]) => [name, [line.map((_, i) => i), line]]));
const three = (lines) => Object.values(lines).map((line) => [line[0], line[(line.length - 1) >> 1], line.at(-1)]);

live(({ std, depth, branch, n_layers }) => {
  const layers = stack(std, depth);
  const branches = stream(branch, n_layers);
  return { layers: curves(layers), stack: three(layers), branches: curves(branches), stream: three(branches) };
});
