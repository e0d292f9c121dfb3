// The rules of gpt/generation/sampling.py, for the options entered. The candidates are sorted: the most probable is first.
const { logits, words } = JSON.parse(document.getElementById("candidates").textContent);
const ROUNDING = 1e-12; // a sum that misses p by this much reaches it

const softmax = (z) => {
  const top = Math.max(...z);
  const weights = z.map((value) => Math.exp(value - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};
const runningSum = (list) => {
  let sum = 0;
  return list.map((value) => (sum += value));
};
const keepFirst = (z, n) => z.map((value, i) => (i < n ? value : -Infinity));

const divideByTemperature = (z, temperature) => {
  const top = Math.max(...z);
  if (temperature === 0) return keepFirst(z.map((value) => value - top), 1);
  return z.map((value) => (value - top) / temperature);
};
const keepTopP = (z, p) => {
  if (p >= 1) return z;
  const short = runningSum(softmax(z)).slice(0, -1).filter((sum) => sum < p - ROUNDING);
  return keepFirst(z, 1 + short.length);
};
const keepMinP = (z, p) => (p <= 0 ? z : z.map((value) => (value - z[0] >= Math.log(p) ? value : -Infinity)));

live(({ temperature, top_k, top_p, min_p, u }) => {
  const z = divideByTemperature(logits, temperature);
  const afterK = keepFirst(z, top_k);
  const afterP = keepTopP(afterK, top_p);
  const afterM = keepMinP(afterP, min_p);
  const p = softmax(afterM);
  const sums = runningSum(p);
  const drawn = sums.findIndex((sum) => sum > u * sums.at(-1));
  const rules = [["top-k", afterK], ["top-p", afterP], ["min-p", afterM]];
  const removedBy = (i) => rules.find(([, left]) => left[i] === -Infinity)?.[0] ?? "";
  const tempered = softmax(z);
  return { tempered, sums: runningSum(tempered), removed_by: p.map((_, i) => removedBy(i)), p, word: words[drawn] };
});
