// The arithmetic of one entry: the expression that computed it, back to the nearest numbers that have a name.

const FEW = 6; // terms of a sum that are written out
const PRINTED = { sqrt: "√", log: "ln", "==": "=", "!=": "≠", "<=": "≤", ">=": "≥" };
const INFIX = { "+": [" + ", 1, 1], "-": [" − ", 1, 2], "*": [" ", 2, 3], "/": [" / ", 2, 3] }; // and how tightly they bind
const SIGNS = { sum: "Σ", prod: "Π" };
const constant = (value) => ({ kind: "number", value });

const position = (shape, i) => {
  const at = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(i % shape[axis]);
    i = Math.floor(i / shape[axis]);
  }
  return at;
};

// Return the expression of entry i of node k, and the named entries that it was computed from.
const explain = (k, i) => {
  const used = [];
  const visit = (k, i, inside) => { // inside: "top" before the first name, "fold" among the terms of a sum
    const node = graph.nodes[k];
    const value = values[k][i];
    const { op, of } = node;
    if (op === "const") return constant(value);
    if (op === "name" && inside === "top") return visit(of[0], i);
    if (op === "in" || op === "name") {
      used.push([k, i]);
      return { kind: "symbol", name: node.name, at: position(node.shape, i), value };
    }
    if (op === "pick") return visit(of[0], node.map[i], inside);
    if (op === "join") return visit(...node.from[i], inside);
    if (op === "where") {
      const yes = truth(of[0], node.maps[0][i]);
      return visit(of[yes ? 1 : 2], node.maps[yes ? 1 : 2][i]);
    }
    if (op === "at") {
      visit(of[1], i);
      return visit(of[0], values[of[1]][i]);
    }
    if (op === "put") {
      const last = values[of[1]].lastIndexOf(i);
      if (last >= 0) visit(of[1], last);
      return last >= 0 ? visit(of[2], last) : visit(of[0], i);
    }
    if (op === "fold") return folded(node, value, i);
    const operand = (n) => visit(of[n], node.maps[n][i]);
    const test = op === "*" ? of.findIndex((a) => graph.nodes[a].bool) : -1; // a product with 1[…]
    if (test >= 0) {
      const condition = operand(test);
      if (inside !== "fold" && condition.kind !== "number") return { kind: "op", op, args: [operand(1 - test), condition], value };
      return condition.value ? operand(1 - test) : constant(0);
    }
    return simplified(node.bool ? "test" : "op", op, of.map((_, n) => operand(n)), value);
  };
  const truth = (k, i) => visit(k, i).value;
  const folded = (node, value, i) => {
    let terms = node.terms[i].map((j) => visit(node.of[0], j, "fold"));
    if (node.kind === "sum") terms = terms.filter((term) => term.kind !== "number" || term.value !== 0);
    if (node.kind === "any" || terms.every((term) => term.kind === "number")) return constant(value);
    return terms.length === 1 ? terms[0] : { kind: "fold", fold: node.kind, terms, value };
  };
  const simplified = (kind, op, args, value) => {
    const [a, b] = args;
    const is = (arg, number) => arg?.kind === "number" && arg.value === number;
    if (args.every((arg) => arg.kind === "number")) return constant(value);
    if ((op === "*" && is(b, 1)) || (op === "/" && is(b, 1)) || ("+-".includes(op) && is(b, 0))) return a;
    if ((op === "*" && is(a, 1)) || (op === "+" && is(a, 0))) return b;
    return { kind, op, args, value };
  };
  return { expression: visit(k, i, "top"), used };
};

// Parts of a line: texts; { name, at } for a symbol; { power } for an exponent. `as` is "symbols" with indices,
// "letters" without, or "numbers"; level: how tightly the surroundings bind; first: nothing stands before it.
const write = (e, as, level = 0, first = true) => {
  const part = (inner, tight, start = false) => write(inner, as, tight, start);
  const closed = (parts, own) => (own < level ? ["(", ...parts, ")"] : parts);
  const plain = (value) => {
    const text = readable(value);
    return [text.startsWith("−") && !first ? `(${text})` : text];
  };
  if (e.kind === "number") return plain(e.value);
  if (e.kind === "symbol") return as === "numbers" ? plain(e.value) : [{ name: e.name, at: as === "letters" ? [] : e.at }];
  if (e.kind === "fold") {
    if (as === "numbers") return plain(e.value);
    const inside = (tight) => write(e.terms[0], "letters", tight, true);
    if (SIGNS[e.fold]) return closed([`${SIGNS[e.fold]} `, ...inside(2)], 2);
    return e.fold === "mean" ? ["⟨", ...inside(0), "⟩"] : [`${e.fold}(`, ...inside(0), ")"];
  }
  const [a, b] = e.args;
  if (e.kind === "test") {
    const side = (arg) => (arg.kind === "test" ? write(arg, "inside") : part(arg, 0, true));
    const text = b ? [...side(a), ` ${PRINTED[e.op] ?? e.op} `, ...side(b)] : [`${e.op} `, ...side(a)];
    return as === "numbers" ? plain(e.value) : as === "inside" ? text : ["1[", ...text, "]"];
  }
  if (INFIX[e.op]) {
    const [sign, own, tight] = INFIX[e.op];
    const cross = e.op === "*" && (as === "numbers" || b.kind === "number");
    return closed([...part(a, own, first), cross ? " × " : sign, ...part(b, tight)], own);
  }
  if (e.op === "neg") return closed(["−", ...part(a, 3)], 2);
  if (e.op === "**") return closed([...part(a, 5), { power: part(b, 0, true) }], 4);
  if (e.op === "abs") return ["|", ...part(a, 0, true), "|"];
  const inside = e.args.flatMap((arg, n) => [...(n ? [", "] : []), ...part(arg, 0, true)]);
  return [`${PRINTED[e.op] ?? e.op}(`, ...inside, ")"];
};

const sumOf = (e, as) => { // a sum, product or mean with its terms
  const sign = e.fold === "prod" ? " × " : ["sum", "mean"].includes(e.fold) ? " + " : ", ";
  const terms = e.terms.flatMap((term, n) =>
    [...(n ? [sign] : []), ...write(term, as, sign === " × " ? 3 : sign === ", " ? 0 : 1, n === 0)]);
  if (e.fold === "mean") return ["(", ...terms, `) / ${e.terms.length}`];
  return sign === ", " ? [`${e.fold}(`, ...terms, ")"] : terms;
};
const folds = (e) => (e.kind === "fold" ? [e, ...folds(e.terms[0])] : (e.args ?? []).flatMap(folds));

// The lines for one entry: its formula with the numbers put in, and each sum inside it with its terms.
const arithmetic = (symbol, e) => {
  const short = e.kind === "fold" && e.terms.length <= FEW;
  const whole = (as) => (short ? sumOf(e, as) : write(e, as));
  const equal = [whole("symbols"), ...(e.kind === "fold" && !short ? [] : [whole("numbers")])];
  const value = readable(e.value);
  const sides = e.kind === "number" ? [[value]] : [...equal.filter((side) => side.join() !== value), [value]];
  const inner = folds(e).filter((fold) => (fold !== e || !short) && fold.terms.length <= FEW);
  const seen = new Set();
  const more = inner.map((fold) => [write(fold, "letters"), sumOf(fold, "numbers"), [readable(fold.value)]])
    .filter((line) => !seen.has(JSON.stringify(line[0])) && seen.add(JSON.stringify(line[0])));
  return [[[symbol], ...sides], ...more.slice(0, 4)];
};
