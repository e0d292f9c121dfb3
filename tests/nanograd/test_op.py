"""Op: its name, its arguments, the dtype of its result, the context it runs in, and its observers."""

import copy
import inspect
import pickle
import pydoc
import threading
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd.check.cases import CASES
from nanograd.op import CONTEXT, OPS, Observer, Op, no_grad, observe, readable, region


def scale_forward(x: np.ndarray, y: np.ndarray | None = None, *, by: float = 2.0) -> tuple[np.ndarray, Any]:
    """Scale x, and add y if there is one."""
    return (x * by if y is None else x * by + y), by


def scale_backward(dy: np.ndarray, saved: Any, needs: Any = (True, True)) -> tuple[Any, ...]:
    return dy * saved if needs[0] else None, dy if needs[1] else None


def wrong_backward(dy: np.ndarray, saved: Any) -> tuple[Any, ...]:
    return (dy,)


scale = Op(scale_forward, scale_backward)


# Names and the registry


def test_an_op_has_the_name_and_arguments_of_its_forward() -> None:
    assert scale.name == scale.__name__ == "scale"
    assert repr(scale) == "<Op scale>"
    assert list(inspect.signature(scale).parameters) == ["x", "y", "by"]


def test_a_signature_shows_tensors_and_options() -> None:
    expected = {
        ng.exp: "(x: Tensor) -> Tensor",
        ng.mul: "(a: Tensor, b: Tensor) -> Tensor",  # needs is hidden
        ng.softmax: "(x: Tensor, mask: Tensor | None = None, *, axis: int = -1) -> Tensor",
        ng.log_softmax: "(x: Tensor, *, axis: int = -1) -> Tensor",
        ng.dropout: "(x: Tensor, *, p: float, seed: int) -> Tensor",
        scale: "(x: Tensor, y: Tensor | None = None, *, by: float = 2.0) -> Tensor",
    }
    assert {op: str(inspect.signature(op)) for op in expected} == expected


def test_every_op_has_types_in_its_signature() -> None:
    for op in OPS.values():
        text = str(inspect.signature(op))
        assert text.endswith(") -> Tensor"), op
        assert all(p.annotation is not p.empty for p in inspect.signature(op).parameters.values()), op


def test_help_shows_the_signature_the_forward_and_where_the_derivation_is() -> None:
    text = pydoc.render_doc(ng.log_softmax, renderer=pydoc.plaintext)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[2:4] == ["log_softmax = <Op log_softmax>", "log_softmax(x: Tensor, *, axis: int = -1) -> Tensor"]
    assert (inspect.getdoc(ng.log_softmax.pair.forward) or "none").splitlines()[0] in lines  # type: ignore[attr-defined]
    assert [line for line in lines if line][
        -1
    ] == "Backward: help(log_softmax.pair.backward) or python -m nanograd study log_softmax"
    assert (scale.__doc__ or "").splitlines()[-1] == "Backward: help(scale.pair.backward)"  # no page has a user's op


def test_a_copy_of_an_op_is_the_op() -> None:
    for op in (ng.relu, ng.softmax, scale):
        assert copy.copy(op) is op
        assert copy.deepcopy({"activation": op})["activation"] is op
    assert pickle.loads(pickle.dumps(ng.softmax)) is ng.softmax


def test_the_pair_must_share_a_name() -> None:
    with pytest.raises(
        ValueError, match="must be called <op>_forward and <op>_backward, got scale_forward and wrong_b"
    ):
        Op(scale_forward, wrong_backward)


def test_a_forward_must_be_called_forward() -> None:
    with pytest.raises(ValueError, match="must be called <op>_forward and <op>_backward, got wrong_backward"):
        Op(wrong_backward, wrong_backward)


@pytest.mark.parametrize("forward", [lambda x: x * 2, lambda x: (x * 2,), lambda x: [x * 2, None]])
def test_a_forward_must_return_y_and_saved(forward: Any) -> None:
    def twice_forward(x: Any) -> Any:
        return forward(x)

    def twice_backward(dy: Any, saved: Any) -> Any:
        return (dy * 2,)

    twice = Op(twice_forward, twice_backward)
    with pytest.raises(TypeError, match=r"twice: a forward returns \(y, saved\), got (ndarray|tuple|list)"):
        twice(np.ones((2, 3)))  # two rows: y and saved?
    with pytest.raises(TypeError, match="twice: a forward returns"):
        twice(ng.tensor(np.ones((2, 3)), requires_grad=True))


def test_every_op_of_the_package_is_registered_under_its_name() -> None:
    assert {"add", "softmax", "concat", "attention"} <= set(OPS)
    assert all(op.name == name and op.__module__.startswith("nanograd.ops.") for name, op in OPS.items())


def test_a_second_op_of_the_package_with_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_forward, "__module__", "nanograd.ops.planted")
    monkeypatch.setitem(OPS, "scale", scale)
    with pytest.raises(ValueError, match=r"Op: scale is already defined in .*test_op"):
        Op(scale_forward, scale_backward)


def test_a_users_op_may_be_redefined_and_stays_out_of_the_registry() -> None:
    again = Op(scale_forward, scale_backward)
    assert again is not scale
    assert "scale" not in OPS


# Arguments


def test_arrays_may_go_by_keyword() -> None:
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([5.0])
    expected = [[16.0]]  # 1·3 + 2·4 + 5
    np.testing.assert_array_equal(ng.linear(x, w, b), expected)
    np.testing.assert_array_equal(ng.linear(x, w, bias=b), expected)
    np.testing.assert_array_equal(ng.linear(bias=b, weight=w, x=x), expected)


def test_tensors_may_go_by_keyword() -> None:
    x, w = ng.Tensor([[1.0, 2.0]], requires_grad=True), ng.Tensor([[3.0, 4.0]], requires_grad=True)
    ng.linear(x=x, weight=w).backward()
    np.testing.assert_array_equal(x.grad, [[3, 4]])
    np.testing.assert_array_equal(w.grad, [[1, 2]])


def test_an_optional_array_may_be_left_out_or_none() -> None:
    np.testing.assert_array_equal(scale(np.array([1.0])), [2.0])
    np.testing.assert_array_equal(scale(np.array([1.0]), None), [2.0])
    np.testing.assert_array_equal(scale(np.array([1.0]), y=np.array([3.0]), by=10.0), [13.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ng.linear(x), "linear: weight is missing; it takes x, weight, bias"),
        (lambda x: ng.linear(x, bias=x), "linear: weight is missing"),
        (lambda x: ng.linear(x, x, weight=x), "linear: got weight twice, by position and by keyword"),
        (lambda x: ng.add(x), "add: b is missing; it takes a, b"),
        (lambda x: ng.log_softmax(x, 1), r"log_softmax: takes 1 arrays \(x\), got 2; options go by keyword: axis"),
        (lambda x: ng.neg(x, x), r"neg: takes 1 arrays \(x\), got 2; options go by keyword: there are none"),
        (lambda x: ng.softmax(x, axes=0), "softmax: unknown option axes; did you mean axis"),
        (lambda x: ng.sum(x, keepdms=True), "sum: unknown option keepdms; did you mean keepdims"),
        (lambda x: ng.linear(x, wieght=x, weight=x), "linear: unknown option wieght; did you mean weight"),
        (lambda x: ng.softmax(x, q=0), "softmax: unknown option q; it has axis"),
        (lambda x: ng.neg(x, qqq=0), "neg: unknown option qqq; it has none"),
        (lambda x: ng.mul(x, x, needs=(True, True)), "mul: unknown option needs"),
        (lambda x: ng.dropout(x), r"dropout: 'p' and 'seed' are missing; write dropout\(…, p=…, seed=…\)"),
        (lambda x: ng.dropout(x, p=0.5), "dropout: 'seed' is missing"),
        (lambda x: ng.concat([]), "concat: needs at least one array"),
        (lambda x: ng.add(x, "one"), "add: expected numbers, got str"),
        (lambda x: ng.add(x, object()), "add: expected numbers, got object"),
    ],
)
def test_a_wrong_call_is_explained(call: Any, message: str) -> None:
    for x in (np.ones(2), ng.Tensor(np.ones(2), requires_grad=True)):
        with pytest.raises(TypeError, match=message):
            call(x)


# Promotion: the dtype of a result, whatever mixture goes in

F32, F64 = np.float32, np.float64
f32, f64, i64 = np.array([1.5], F32), np.array([1.5], F64), np.array([2])


@pytest.mark.parametrize(
    ("a", "b", "dtype"),
    [
        (f32, f32, F32),
        (f64, f64, F64),  # float64 stays float64: gradcheck needs it
        (f32, f64, F64),  # mixtures follow NumPy
        (f32, 0.1, F32),
        (f32, 2, F32),
        (f32, True, F32),
        (f64, 0.1, F64),
        (f32, F64(0.1), F32),  # NumPy scalars count as Python numbers
        (f64, F32(0.1), F64),
        (f32, np.int64(2), F32),
        (f32, np.bool_(True), F32),
        (f32, i64, F32),  # NumPy would say float64
        (f64, i64, F64),
        (f32, np.array([True]), F32),
        (i64, 0.5, F32),
        (i64, F64(0.5), F32),
        (i64, 2, np.int64),
        (i64, np.array([1], np.int32), np.int64),
        (np.array([1], np.int32), 2, np.int32),
        (np.array([True]), 2, np.int64),
        ([0.5], [1.5], F32),
        ([1], [2], np.int64),
        ([1], [0.5], F32),
        ([0.5], f64, F64),
        ((0.5,), f32, F32),
        (0.5, 1.5, F32),
        (F64(0.5), F64(1.5), F32),
        (1, 2, np.int64),
        (np.array(1.5, F64), f32, F64),  # a 0-d array is an array
        (np.array([1.5], np.float16), f32, F32),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_dtype_of_two_operands(a: Any, b: Any, dtype: Any) -> None:
    assert ng.add(a, b).dtype == dtype
    assert ng.add(b, a).dtype == dtype
    assert ng.add(as_tensor(a), as_tensor(b)).dtype == dtype, "a Tensor counts as its array"
    assert ng.add(b, as_tensor(a)).dtype == dtype


def as_tensor(a: Any) -> Any:
    return ng.Tensor(a) if isinstance(a, np.ndarray) else a


@pytest.mark.parametrize("op", [ng.exp, ng.softmax, ng.log_softmax, ng.erf, ng.gelu, ng.gelu_tanh, ng.sigmoid, ng.tanh,
                                ng.sqrt, ng.rsqrt, ng.reciprocal, ng.mean, ng.var, ng.layernorm],
                         ids=repr)  # fmt: skip
def test_integers_are_promoted_to_float32_if_the_result_is_a_fraction(op: Op) -> None:
    y = op([1, 2, 4])
    assert y.dtype == F32
    np.testing.assert_allclose(y, op(np.array([1.0, 2.0, 4.0])), rtol=1e-6)


def test_integers_are_promoted_by_ops_of_several_inputs() -> None:
    assert ng.div([1], [2]).dtype == F32
    assert ng.dropout([1, 2], p=0.5, seed=0).dtype == F32
    assert ng.attention([[1, 0]], [[1, 2], [3, 4]], [[1], [2]]).dtype == F32
    assert ng.cross_entropy([[1, 2, 3]], [0]).dtype == F32


@pytest.mark.parametrize("op", [ng.max, ng.min, ng.sum, ng.relu, ng.square, ng.neg], ids=repr)
def test_integers_stay_integers_if_the_result_is_an_integer(op: Op) -> None:
    assert op([3, 1, 2]).dtype == np.int64


def test_a_python_float_keeps_its_digits_with_float64() -> None:
    assert ng.add(np.array([0.0]), 0.1)[0] == 0.1
    assert ng.add(np.array([0.0]), F64(0.1))[0] == 0.1


def test_a_nondifferentiable_input_keeps_its_dtype_and_may_be_a_number_or_a_list() -> None:
    table = np.array([[1.0, 2.0], [3.0, 4.0]], F32)
    np.testing.assert_array_equal(ng.embedding(table, 1), [3, 4])
    np.testing.assert_array_equal(ng.embedding(table, [1, 0]), [[3, 4], [1, 2]])
    np.testing.assert_array_equal(ng.embedding(table, np.int64(1)), [3, 4])
    np.testing.assert_array_equal(ng.where(1, table, 0.0), table)
    np.testing.assert_array_equal(ng.where(False, table, 0.0), np.zeros((2, 2)))
    assert ng.cross_entropy(table[0], 1).dtype == F32


def test_a_promotion_is_differentiated() -> None:
    x, y = ng.Tensor(f32, requires_grad=True), ng.Tensor(f64, requires_grad=True)
    z = ng.mul(x, y)
    assert z.dtype == F64
    z.backward()
    assert x.grad.dtype == F32
    assert y.grad.dtype == F64
    assert x.grad[0] == y.grad[0] == 1.5


def test_promotion_leaves_masks_and_absent_arrays_alone() -> None:
    x = np.ones((2, 2))
    assert ng.attention(x, x.astype(F32), x, [[True, False], [True, True]]).dtype == F64
    assert ng.linear(x, x.astype(F32)).dtype == F64
    assert ng.linear(x.astype(F32), [[1, 2]], None).dtype == F32


def test_an_operand_of_the_right_dtype_is_not_copied() -> None:
    seen: list[Any] = []

    def spy_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        seen.extend([a, b])
        return a + b, None

    def spy_backward(dy: np.ndarray, saved: Any, needs: Any) -> tuple[Any, ...]:
        return dy, dy

    Op(spy_forward, spy_backward)(f64, f32)
    assert seen[0] is f64
    assert seen[1].dtype == F64


# Context


@pytest.fixture
def double() -> tuple[Op, list[str]]:
    """Return an op with two pairs that log their calls."""
    ran: list[str] = []

    def double_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
        ran.append("readable forward")
        return x * 2, None

    def double_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        ran.append("readable backward")
        return (dy * 2,)

    def double_forward_fast(x: np.ndarray) -> tuple[np.ndarray, Any]:
        ran.append("fast forward")
        return x + x, None

    def double_backward_fast(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        ran.append("fast backward")
        return (dy + dy,)

    return Op(double_forward, double_backward, fast=(double_forward_fast, double_backward_fast)), ran


def test_the_fast_pair_runs_except_inside_readable(double: tuple[Op, list[str]]) -> None:
    op, ran = double
    op(ng.Tensor([1.0], requires_grad=True)).backward()
    assert ran == ["fast forward", "fast backward"]
    ran.clear()
    with readable():
        y = op(ng.Tensor([1.0], requires_grad=True))
    y.backward()  # the backward belongs to the forward, wherever it runs
    assert ran == ["readable forward", "readable backward"]


def test_no_grad_as_context_and_as_decorator() -> None:
    x = ng.Tensor([1.0], requires_grad=True)
    with no_grad():
        assert not (x * 2).requires_grad
        with no_grad():
            pass
        assert not (x * 2).requires_grad, "leaving an inner no_grad leaves the outer one"
    assert (x * 2).requires_grad

    @no_grad()
    def evaluate() -> ng.Tensor:
        return x * 2

    assert not evaluate().requires_grad
    assert not evaluate().requires_grad
    assert (x * 2).requires_grad


def test_contexts_nest_and_end_with_an_error() -> None:
    def fail() -> None:
        with no_grad(), readable():
            assert CONTEXT.get()[:2] == (False, True)
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert CONTEXT.get()[:2] == (True, False)


def test_the_context_belongs_to_the_thread() -> None:
    x = ng.Tensor([1.0], requires_grad=True)
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_a_forward_that_is_not_recorded_gets_no_needs() -> None:
    received: list[Any] = []

    def spy_forward(x: np.ndarray, y: np.ndarray, *, needs: Any = (True, True)) -> tuple[np.ndarray, Any]:
        received.append(needs)
        return x + y, None

    def spy_backward(dy: np.ndarray, saved: Any, needs: Any = (True, True)) -> tuple[Any, ...]:
        received.append(needs)
        return dy if needs[0] else None, dy if needs[1] else None

    spy = Op(spy_forward, spy_backward)
    x, y = ng.Tensor([1.0], requires_grad=True), ng.Tensor([1.0])
    spy(x, y).backward()
    with no_grad():
        spy(x, y)
    spy(x.data, y.data)
    assert received == [(True, False), (True, False), (False, False), (False, False)]


# Observers


def test_an_observer_is_called_in_order_and_only_inside_its_block() -> None:
    calls: list[str] = []

    class Log(Observer):
        def before_forward(self, op: Op) -> None:
            calls.append(f"before forward of {op.name}")

        def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Any) -> None:
            calls.append(f"after forward of {op.name}: {y.tolist()}, {'recorded' if node else 'not recorded'}")

        def backward_begins(self) -> None:
            calls.append("backward")

        def before_backward(self, node: Any, dy: np.ndarray, saved: Any) -> None:
            calls.append(f"before backward of {node.op.name}: {dy.tolist()}")

        def after_backward(self, node: Any, dy: np.ndarray, saved: Any, dxs: Any) -> None:
            calls.append(f"after backward of {node.op.name}: {dxs[0].tolist()}")

        def before_region(self, name: str) -> None:
            calls.append(f"before {name}")

        def after_region(self, name: str) -> None:
            calls.append(f"after {name}")

    def fail() -> None:
        with region("failure"):
            raise KeyError("planted")

    x = ng.Tensor([3.0], requires_grad=True)
    with observe(Log()), region("step"):
        y = ng.mul(x, 2.0)
        with no_grad():
            ng.neg(x)
        y.backward([5.0])
        with pytest.raises(KeyError, match="planted"):
            fail()
    with region("unobserved"):
        ng.neg(x)
    assert calls == [
        "before step",
        "before forward of mul",
        "after forward of mul: [6.0], recorded",
        "before forward of neg",
        "after forward of neg: [-3.0], not recorded",
        "backward",
        "before backward of mul: [5.0]",
        "after backward of mul: [10.0]",
        "before failure",
        "after failure",
        "after step",
    ]


@pytest.mark.parametrize("name", OPS)
def test_float16_is_computed_in_float32(name: str) -> None:
    """In every op: the value is that of float32 inputs, and the gradient of a float16 leaf is float16."""
    op, case = OPS[name], CASES[name][0]
    half = [a.astype(np.float16) if a is not None and a.dtype.kind == "f" else a for a in case.arrays()]
    options = {**case.options, "dtype": np.float32} if "dtype" in op.options else case.options
    leaves = [ng.Tensor(a, a.dtype.kind == "f" and i not in op.nondifferentiable) if a is not None else None
              for i, a in enumerate(half)]  # fmt: skip
    y = op(*leaves, **options)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(
        y.data, op(*(a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in half), **options)
    )
    if y.requires_grad:
        y.backward(np.ones(y.shape))
        assert {leaf.grad.dtype for leaf in leaves if leaf is not None and leaf.requires_grad} == {np.dtype(np.float16)}


def test_a_sum_of_many_halves_does_not_overflow() -> None:
    for op in (ng.sum, ng.mean, ng.max, ng.min):
        x = ng.Tensor(np.ones(70_000, np.float16), requires_grad=True)
        y = op(x)
        y.backward()
        assert y.item() == (70_000 if op is ng.sum else 1)
        np.testing.assert_allclose(x.grad, 1 if op is ng.sum else 1 / 70_000, rtol=0.01)
    assert ng.astype(ng.Tensor(np.ones(2)), dtype=np.float16).dtype == np.float16


@pytest.mark.parametrize("name", ["add", "mul", "maximum", "concat", "mse", "pow", "matmul"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_list_is_not_rounded_below_the_dtype_of_the_array_beside_it(name: str, dtype: Any) -> None:
    x, values = np.ones(2, dtype), [0.1, 0.7]
    assert np.array_equal(OPS[name](x, values), OPS[name](x, np.array(values, dtype)))
    assert np.array_equal(OPS[name](values, x), OPS[name](np.array(values, dtype), x))
    assert (ng.Tensor(np.array(values, dtype)) == values).all()
