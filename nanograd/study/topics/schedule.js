// The schedule of nanograd.optim.warmup_cosine, at the steps that schedule.py chooses.
const POINTS = 120;

const rate = (step, { lr, min_lr, warmup_steps, max_steps }) => {
  if (step < warmup_steps) return (lr * (step + 1)) / warmup_steps;
  const progress = (step - warmup_steps) / Math.max(1, max_steps - warmup_steps);
  return min_lr + ((lr - min_lr) * (1 + Math.cos(Math.PI * Math.min(1, progress)))) / 2;
};

live((options) => {
  const { warmup_steps, max_steps } = options;
  const steps = Array.from({ length: POINTS + 1 }, (_, i) => Math.floor((i * max_steps) / POINTS));
  const half = Math.max(Math.floor(warmup_steps / 2) - 1, 0);
  const middle = Math.floor((warmup_steps + max_steps) / 2);
  const marks = [0, half, Math.max(warmup_steps - 1, 0), middle, max_steps];
  return {
    rates: { "warmup and cosine": [steps, steps.map((step) => rate(step, options))] },
    marks: marks.map((step) => [step, rate(step, options)]),
  };
});
