// The counts of cache.py, for the shape entered.
const POINTS = 40;

live((shape) => {
  const { T, L, C, H, K, D, F, V, bytes } = shape;
  const weights = C * (H + 2 * K) * D + H * D * C + 2 * C * F;
  const without = (t) => L * (t * weights + 2 * t * t * H * D) + V * C;
  const cached = (t) => L * (weights + 2 * t * H * D) + V * C;
  const tokens = Array.from({ length: T }, (_, i) => i + 1);
  const total = (count) => tokens.reduce((sum, t) => sum + count(t), 0);
  const [all_without, all_with] = [total(without), total(cached)];
  const memory = 2 * L * K * D * T * bytes;
  const steps = Array.from({ length: POINTS + 1 }, (_, i) => Math.max(1, Math.floor((i * T) / POINTS)));
  return {
    counts: [1, Math.max(1, Math.floor(T / 2)), T].map((t) => [t, t, 1, without(t), cached(t)]),
    all_without, all_with, times: all_without / all_with, memory, megabytes: memory / 1e6,
    curve: { "without cache": [steps, steps.map(without)], "with cache": [steps, steps.map(cached)] },
  };
});
