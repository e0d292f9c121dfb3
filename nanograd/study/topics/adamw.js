// The quantities of adamw.py's steps(), for the numbers entered.
const TIMES = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000];

live(({ p, g, lr, beta1, beta2, eps, weight_decay }) => {
  const out = { m: [], v: [], m_hat: [], v_hat: [], update: [], decay: [], after: [] };
  let [now] = p;
  let m = now.map(() => 0);
  let v = now.map(() => 0);
  g.forEach((gradient, i) => {
    const t = i + 1;
    m = m.map((average, k) => beta1 * average + (1 - beta1) * gradient[k]);
    v = v.map((average, k) => beta2 * average + (1 - beta2) * gradient[k] ** 2);
    const m_hat = m.map((average) => average / (1 - beta1 ** t));
    const v_hat = v.map((average) => average / (1 - beta2 ** t));
    const update = m_hat.map((average, k) => (lr * average) / (Math.sqrt(v_hat[k]) + eps));
    const decay = now.map((value) => lr * weight_decay * value);
    now = now.map((value, k) => value - decay[k] - update[k]);
    for (const [name, value] of Object.entries({ m, v, m_hat, v_hat, update, decay, after: now })) out[name].push(value);
  });
  const length = TIMES.map((t) => (1 - beta1 ** t) / Math.sqrt(1 - beta2 ** t));
  return { ...out, correction: { "without correction": [TIMES, length], corrected: [TIMES, TIMES.map(() => 1)] } };
});
