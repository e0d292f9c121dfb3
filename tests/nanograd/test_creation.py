"""Tensors from data, numbers and random generators."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (1.5, None, "float32"),
        ([[1.0], [2.0]], None, "float32"),
        ([1, 2], None, "int64"),
        ([True], None, "bool"),
        (np.array([0.1]), None, "float64"),
        (np.array([0.1]), "float32", "float32"),
        ([0.1], "float64", "float64"),
        ([1, 2], np.float32, "float32"),
        (ng.Tensor([0.1]), None, "float32"),
        (ng.Tensor([0.1]), "float64", "float64"),
    ],
)
def test_tensor_has_the_dtype_of_its_data_or_the_one_given(data: Any, dtype: Any, expected: str) -> None:
    x = ng.tensor(data, dtype=dtype)
    assert x.dtype == expected
    values = data.data if isinstance(data, ng.Tensor) else data
    np.testing.assert_array_equal(x.data, np.asarray(values).astype(x.dtype))
    assert not x.requires_grad


def test_a_list_of_float64_keeps_its_digits() -> None:
    assert ng.tensor([0.1], dtype="float64").item() == 0.1


def test_tensor_copies() -> None:
    for data in (np.zeros(2), ng.zeros(2)):
        for dtype in (None, data.dtype):
            x = ng.tensor(data, dtype=dtype)
            assert not np.shares_memory(x.data, np.asarray(data))


@pytest.mark.parametrize("shape", [(2, 3), (4,), ()])
@pytest.mark.parametrize("create", [ng.zeros, ng.ones, ng.rand, ng.randn])
def test_a_shape_is_given_as_ints_or_as_a_tuple(create: Any, shape: tuple[int, ...]) -> None:
    for x in (create(*shape), create(shape), create(list(shape))):
        assert x.shape == shape
        assert x.dtype == np.float32
        assert not x.requires_grad


@pytest.mark.parametrize(
    "create", [ng.zeros, ng.ones, ng.rand, ng.randn, lambda n, **o: ng.full(n, 2.0, **o), ng.arange]
)
def test_dtype_and_requires_grad(create: Any) -> None:
    x = create(3, dtype="float64", requires_grad=True)
    assert x.dtype == np.float64
    assert x.requires_grad
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)


def test_values() -> None:
    assert ng.zeros(2).tolist() == [0, 0]
    assert ng.ones(2).tolist() == [1, 1]
    assert ng.full((1, 2), 7).tolist() == [[7, 7]]
    assert ng.full(2, 0.5).tolist() == [0.5, 0.5]
    assert ng.full((), True).item() is True


@pytest.mark.parametrize("value", [2, 2.5, True, np.float64(2.5), np.int8(3)])
def test_full_and_arange_have_the_dtype_of_tensor(value: Any) -> None:
    assert ng.full(2, value).dtype == (np.float32 if isinstance(value, float) else np.asarray(value).dtype)


@pytest.mark.parametrize("args", [(5,), (2, 8, 3), (0.0, 1.0, 0.25), (3.5,), (5, 0, -2), (0,)])
def test_arange_is_that_of_numpy_with_float32(args: Any) -> None:
    x, expected = ng.arange(*args), np.arange(*args)
    np.testing.assert_array_equal(x.data, expected)
    assert x.dtype == (np.float32 if expected.dtype == np.float64 else expected.dtype)


@pytest.mark.parametrize("create", [ng.rand, ng.randn])
def test_random_numbers_repeat_with_a_seed_or_a_generator(create: Any) -> None:
    a, b = create(50, rng=3), create(50, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(a.data, b.data)
    assert (create(50, rng=4).data != a.data).any()
    assert (create(50).data != create(50).data).any()
    rng = np.random.default_rng(3)
    assert (create(50, rng=rng).data != create(50, rng=rng).data).any()  # a generator goes on


def test_distributions() -> None:
    uniform, normal = ng.rand(20_000, rng=0).data, ng.randn(20_000, rng=0, dtype="float64").data
    assert 0 <= uniform.min() < 0.001
    assert 0.999 < uniform.max() < 1
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


def test_ints_cannot_require_grad() -> None:
    with pytest.raises(TypeError, match=r"only floats can require grad, got int64; use .astype\('float32'\) first"):
        ng.tensor([1, 2], requires_grad=True)
