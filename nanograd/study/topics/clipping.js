// What clipping.py's clip() and curve() compute, for the numbers entered.
const sum = (list) => list.reduce((total, value) => total + value, 0);
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));

live(({ weight, bias, limit }) => {
  const gradient = [...weight.flat(), ...bias.flat()];
  const squares = [dot(weight.flat(), weight.flat()), dot(bias.flat(), bias.flat())];
  const norm = Math.sqrt(dot(gradient, gradient));
  const factor = norm > limit ? limit / (norm + 1e-6) : 1;
  const scaled = (list) => list.flat().map((value) => value * factor);
  const cut = (list) => list.flat().map((value) => Math.min(Math.max(value, -limit), limit));
  const short = cut(gradient);
  const before = Array.from({ length: 21 }, (_, i) => (i / 10) * norm);
  return {
    squares: [...squares, norm ** 2], norm, factor, norm_clipped: norm * factor, cosine: norm ? dot(gradient, scaled(gradient)) / (norm * (norm * factor)) : NaN,
    weight_clipped: scaled(weight), bias_clipped: scaled(bias),
    weight_cut: cut(weight), bias_cut: cut(bias),
    cosine_cut: norm ? dot(gradient, short) / (norm * Math.sqrt(dot(short, short))) : NaN,
    curve: { "with clipping": [before, before.map((n) => Math.min(n, limit))], without: [before, before] },
  };
});
