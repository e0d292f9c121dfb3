"""What learners write: typical wrong answers, each with the reply that it must get.

An answer is a body for the learner's file, which unpacks `saved` already; the reply is what `drill check` prints.
"""

import dataclasses
import textwrap

import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.check_file import grade_file
from nanograd.study.drills.command import report
from nanograd.study.drills.drill import learner_file

EMPTY = "    raise NotImplementedError  # write the backward here\n"
ATTENTION = """
dv = np.swapaxes(p, -1, -2) @ dy
dp = dy @ np.swapaxes(v, -1, -2)
ds = p * (dp - (dp * p).sum(-1, keepdims=True))
dq = scale * (ds @ k)
dk = scale * (np.swapaxes(ds, -1, -2) @ q)
return dq, dk, dv
"""
LAYERNORM = """
dn = dy * weight
dx = r * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
axes = tuple(range(dy.ndim - 1))
return dx, (dy * n).sum(axes), dy.sum(axes)
"""
SOFTMAX = "return (y * (dy - (dy * y).sum(-1, keepdims=True)),)"
MATMUL = "return dy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ dy"
MUL = "return dy * b, dy * a"
RIGHT = {"attention": ATTENTION, "layernorm": LAYERNORM, "softmax": SOFTMAX, "matmul": MATMUL, "mul": MUL}


def with_changes(name: str, *changes: tuple[str, str]) -> str:
    body = RIGHT[name]
    for old, new in changes:
        assert body.count(old) == 1, (name, old)
        body = body.replace(old, new)
    return body


def reply(name: str, body: str) -> str:
    drill = dataclasses.replace(DRILLS[name], trains=False)
    text = learner_file(drill)
    assert text.count(EMPTY) == 1
    source = text.replace(EMPTY, textwrap.indent(textwrap.dedent(body).strip() + "\n", "    "))
    return report(drill, grade_file(drill, source.encode()))


# The 27 of the review, on mul, matmul, softmax, layernorm and attention: what is written, and what the reply must contain
REVIEWED = [
    ("mul", [(MUL, "return dy * a, dy * b")], ["“own factor”"]),
    ("mul", [(MUL, "return b, a")], ["shares memory with what forward saved"]),
    ("mul", [(MUL, "return dy, dy")], ["“sum rule”"]),
    ("mul", [("dy * b", "(dy * b).sum()")],
     ["the gradient has shape (), the input (2, 3): the right one, summed over axis 0, 1"]),
    ("mul", [("dy * b", "-dy * b")], ["exactly -1×: a sign is wrong", "db is right"]),
    ("matmul", [("dy @ np.swapaxes(b, -1, -2)", "dy @ b")], ["“b not transposed”", "dy (2, 4)"]),
    ("matmul", [("np.swapaxes(a, -1, -2) @ dy", "np.swapaxes(dy, -1, -2) @ a")], ["“order of db”"]),
    ("matmul", [("np.swapaxes(b, -1, -2)", "b.T"), ("np.swapaxes(a, -1, -2)", "a.T")], ["odd shapes", "a (2, 2, 3)"]),
    ("matmul", [("@ dy", "@ np.ones_like(dy)")], ["“dy forgotten”"]),
    ("matmul", [(MATMUL, "return np.swapaxes(a, -1, -2) @ dy, dy @ np.swapaxes(b, -1, -2)")], ["order of the forward's"]),
    ("softmax", [(SOFTMAX, "return (y * dy,)")], ["“no row sum”"]),
    ("softmax", [(SOFTMAX, "return (dy * y * (1 - y),)")], ["“diagonal only”"]),
    ("softmax", [("y * (dy - (dy * y).sum(-1, keepdims=True))", "y * dy - (dy * y).sum(-1, keepdims=True)")],
     ["“bracket”"]),
    ("softmax", [("dy - (dy", "dy + (dy")], ["“plus”"]),
    ("softmax", [("(dy * y).sum", "dy.sum")], ["“y missing in the sum”"]),
    ("softmax", [("-1, keepdims=True", "-1")], ["operands could not be broadcast", "“without keepdims”"]),
    ("softmax", [("-1, keepdims", "0, keepdims")], ["“another axis”"]),
    ("softmax", [("y * (dy", "(dy")], ["“y left out”"]),
    ("layernorm", [(" - dn.mean(-1, keepdims=True)", "")], ["“mean's term missing”"]),
    ("layernorm", [(" - n * (dn * n)", " + n * (dn * n)")], ["“scale's term added”"]),
    ("layernorm", [("dn = dy * weight", "dn = dy")], ["“weight forgotten”"]),
    ("layernorm", [("(dy * n).sum(axes)", "dy * n")], ["“dweight not summed”", "missing un-broadcast"]),
    ("attention", [("scale * (ds @ k)", "ds @ k"),
                   ("scale * (np.swapaxes(ds, -1, -2) @ q)", "np.swapaxes(ds, -1, -2) @ q")],
     ["“scale forgotten”", "which is √D"]),
    ("attention", [("sum(-1, keepdims=True))", "sum(-1, keepdims=True)) / scale"), ("scale * (ds", "(ds"),
                   ("scale * (np", "(np")], ["“√D again”", "which is D"]),
    ("attention", [("(dp - (dp * p).sum(-1, keepdims=True))", "(1 - p) * dp")], ["“softmax elementwise”"]),
    ("attention", [("np.swapaxes(ds, -1, -2) @ q", "ds @ q")], ["“dk without ᵀ”"]),
    ("attention", [("scale * (ds @ k)", "ds @ k")], ["“scale forgotten” in dq:", "dk and dv are right"]),
]  # fmt: skip

# More, over all drills: the body, and what the reply must contain
MORE = [
    # two mistakes at once
    ("attention", with_changes("attention", ("scale * (ds @ k)", "ds @ k"), ("np.swapaxes(p, -1, -2) @ dy", "p @ dy")),
     ["“scale forgotten” in dq:", "“dv without ᵀ” in dv:"]),
    ("attention", with_changes("attention", ("scale * (np.swapaxes(ds, -1, -2) @ q)", "ds @ q")),
     ["“dk without ᵀ” in dk:", "“scale forgotten” in dk:"]),
    ("attention", with_changes("attention", ("(dp - (dp * p).sum(-1, keepdims=True))", "(1 - p) * dp"),
                               ("scale * (ds @ k)", "ds @ k"), ("scale * (np", "(np")),
     ["“softmax elementwise”", "“scale forgotten”", "These mistakes together"]),
    ("attention", with_changes("attention", (" - (dp * p)", " + (dp * p)"), ("scale * (np", "1 / scale * (np")),
     ["“a sign” in dq and dk", "“√D again” in dk"]),
    ("softmax", with_changes("softmax", ("dy - (dy", "dy + (dy"), ("y * (dy", "-y * (dy")), ["“plus”", "“a sign”"]),
    ("layernorm", with_changes("layernorm", ("dn = dy * weight", "dn = dy"), (" - n * (dn", " + n * (dn")),
     ["“weight forgotten” in dx", "“scale's term added” in dx"]),
    ("layernorm", with_changes("layernorm", ("r * (dn", "(dn"), ("(dy * n).sum(axes)", "dy.sum(axes)")),
     ["“r forgotten” in dx", "“n not in dweight” in dweight"]),
    # attention and flash
    ("attention", with_changes("attention", ("scale * (ds @ k)", "scale * (ds @ q)")),
     ["“another array” in dq: your numbers are those of `scale * ds @ q` where it should be `scale * ds @ k`"]),
    ("attention", with_changes("attention",
        ("ds = p * (dp - (dp * p).sum(-1, keepdims=True))", "ds = dp - (dp * p).sum(-1, keepdims=True)")),
     ["“left out” in dq and dk"]),
    ("attention", with_changes("attention", ("scale * (ds @ k)", "scale * scale * (ds @ k)")),
     ["“a factor” in dq: the gradient is 1/√D times the right one: √D is missing, or 1/√D is one too many"]),
    ("flash", """
     scale = 1 / math.sqrt(q.shape[-1])
     p = np.exp(scale * q @ np.swapaxes(k, -1, -2) - lse)
     ds = p * (dy @ np.swapaxes(v, -1, -2) - (dy * y).sum(-1, keepdims=True))
     return scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dy
     """, ["“no mask”"]),
    ("train", """
     B, H, T, D = q.shape
     dy = dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)
     dp = dy @ np.swapaxes(v, -1, -2)
     ds = p * (dp - (p * dp).sum(-1, keepdims=True))
     parts = np.stack([ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dy])
     return (parts.transpose(1, 3, 0, 2, 4).reshape(B, T, -1),)
     """, ["“scale forgotten”"]),
    # axes, sums, shapes
    ("add", "return dy, dy", ["missing un-broadcast, the sum along axis 0"]),
    ("sum", "shape, axis = saved\nreturn (dy * np.ones(shape),)", ["ValueError|operands"]),
    ("mean", "return (np.broadcast_to(np.expand_dims(dy, axis), shape),)", ["“1/n missing”", "which is n"]),
    ("linear", "return dy @ weight, dy.T @ x, dy.sum(0)", ["odd shapes"]),
    ("linear", "rows = dy.reshape(-1, dy.shape[-1])\n"
     "return dy @ weight, rows.T @ x.reshape(-1, x.shape[-1]) / len(rows), rows.mean(0)",
     ["“a mean of dweight” in dweight", "“a mean” in dbias"]),
    ("transpose", "return (dy.transpose(axes),)", ["“forward again”"]),
    ("reshape", "return (dy.T.reshape(shape),)", ["“transposed”"]),
    # elementwise
    ("relu", "return (dy * (dy > 0),)", ["“relu of dy”"]),
    ("sigmoid", "return (dy * y * (1 + y),)", ["“a sign”: your numbers are those of `1 + y` where it should be `1 - y`"]),
    ("tanh", "return (-dy * (1 - y * y),)", ["exactly -1×: a sign is wrong"]),
    ("gelu_tanh", "du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)\n"
     "return (dy * 0.5 * (1 + t) + dy * 0.5 * (1 - t * t) * du,)",
     ["“left out”: your numbers are those of `dt_dx` where it should be `x * dt_dx`"]),
    ("swiglu", "return dy * b * (s + a * s), dy * a * s", ["6 of 6 entries are wrong|your numbers"]),
    ("div", "return dy / b, (dy * y / b).sum(0)", ["“sign forgotten”"]),
    # losses, tables
    ("cross_entropy", "onehot = np.eye(p.shape[1], dtype=p.dtype)[targets]\nreturn dy * (p - onehot), None",
     ["“1/N missing”"]),
    ("cross_entropy", "onehot = np.eye(p.shape[1], dtype=p.dtype)[targets]\nreturn dy * (p - onehot) / p.size, None",
     ["“1/(N V)”"]),
    ("embedding", "dweight = np.zeros(shape, dy.dtype)\ndweight[ids] = dy\nreturn dweight, None",
     ["repeated ids", "must add"]),
    ("tied", "dweight = np.zeros_like(weight)\nnp.add.at(dweight, ids, dy @ weight)\nreturn dweight, None",
     ["“lookup only”"]),
    ("dropout", "return (dy * z * z,)", ["“scale twice”"]),
    ("rmsnorm", "dn = dy * weight\naxes = tuple(range(dy.ndim - 1))\n"
     "return r * (dn - n * (dn * n).sum(-1, keepdims=True)), (dy * n).sum(axes)", ["“a sum for the mean”"]),
    ("log_softmax", "return (dy - np.exp(y) * dy.sum(),)", ["“one sum for all rows”"]),
    ("block", """
     du = dy @ w_down * (u > 0)
     dh = dy + layernorm_backward(du @ w_up, norm2)[0]
     da = dh @ w_out
     dp = da @ v.T
     ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[-1])
     dqkv = np.concatenate([ds @ k, ds @ q, p.T @ da], axis=-1)
     dx = dh + layernorm_backward(dqkv @ w_qkv, norm1)[0]
     return dx, dqkv.T @ n1, dh.T @ a, du.T @ n2, dy.T @ u
     """, ["“not transposed” in dx and dw_qkv"]),
    # accepted
    ("exp", "return dy * y", ["exp: right.", "`return dx` is accepted"]),
]  # fmt: skip
ANSWERS = [(name, with_changes(name, *changes), wanted) for name, changes, wanted in REVIEWED]


@pytest.mark.parametrize(("name", "body", "wanted"), ANSWERS, ids=[f"{i} {row[0]}" for i, row in enumerate(ANSWERS)])
def test_a_typical_answer_gets_the_right_reply(name: str, body: str, wanted: list[str]) -> None:
    text = reply(name, body)
    for words in wanted:
        assert any(choice in text for choice in words.split("|")), text


@pytest.mark.slow
@pytest.mark.parametrize(("name", "body", "wanted"), MORE, ids=[f"{i} {row[0]}" for i, row in enumerate(MORE)])
def test_another_typical_answer_gets_the_right_reply(name: str, body: str, wanted: list[str]) -> None:
    text = reply(name, body)
    for words in wanted:
        assert any(choice in text for choice in words.split("|")), text
