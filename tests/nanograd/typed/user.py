"""What a user writes: mypy --strict accepts it, and knows the type of every result (tests/nanograd/test_types.py)."""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import nanograd as ng
from nanograd import Tensor, nn, ops, optim


class MLP(nn.Module):
    """A network with one hidden layer."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.up = nn.Linear(1, 16, rng=rng)
        self.down = ng.Linear(16, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(ng.gelu(self.up(x))).tanh()


def train(steps: int) -> list[float]:
    """Fit a sine; return the losses."""
    rng = np.random.default_rng(0)
    model = MLP(rng)
    optimizer = ng.AdamW(model.parameters(), lr=1e-2)
    x = ng.tensor(np.linspace(-1, 1, 32, dtype=np.float32)[:, None])
    losses = []
    for _ in range(steps):
        loss = ng.mse(model(x), ng.sin(x * 3))
        optimizer.zero_grad()
        loss.backward()
        ng.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss))
    assert_type(losses, list[float])
    return losses


def types(x: Tensor, a: np.ndarray, f: NDArray[np.float32], ids: np.ndarray, w: nn.Parameter) -> None:
    """Let a type checker compare the types of results."""
    assert_type(ng.zeros(2, 3), Tensor)
    assert_type(ng.randn((2, 3), rng=0, requires_grad=True), Tensor)
    assert_type(ng.softmax(x, axis=0), Tensor)
    assert_type(ops.softmax(x, dim=0), Tensor)
    assert_type(ng.softmax(a), np.ndarray)
    assert_type(ng.exp([1.0, 2.0]), np.ndarray)
    assert_type(ng.exp(w), Tensor)
    assert_type(ng.sum(x, dim=1, keepdim=True), Tensor)
    assert_type(ng.add(a, a), np.ndarray)
    assert_type(ng.add(a, x), Tensor)
    assert_type(ng.linear(a, w), Tensor)
    assert_type(ng.embedding(w, ids), Tensor)
    assert_type(ng.cross_entropy(x, ids, reduction="sum"), Tensor)
    assert_type(ng.attention(x, x, x, causal=True), Tensor)
    assert_type(ng.einsum("ik,kj->ij", x, a), Tensor)
    assert_type(ng.concat([x, a], axis=1), Tensor)
    assert_type(ng.cat([x, x], dim=1), Tensor)
    assert_type(ng.split(x, 2), list[Tensor])
    assert_type(x + 1, Tensor)
    assert_type(2 * x - a, Tensor)
    assert_type(f + x, Tensor)  # of an np.ndarray without a dtype, NumPy's own types say Any
    assert_type(f @ x, Tensor)
    assert_type(list(x), list[Tensor])
    assert_type(nn.Linear(2, 3)(x), Tensor)
    assert_type(x @ w, Tensor)
    assert_type(w * w, Tensor)
    assert_type(-w, Tensor)
    assert_type(x**2, Tensor)
    assert_type(x.exp(), Tensor)
    assert_type(x.softmax(dim=-1), Tensor)
    assert_type(x.sum(axis=(0, 1), keepdims=True), Tensor)
    assert_type(x.reshape(2, -1).view(3, 2).transpose(0, 1).T, Tensor)
    assert_type(x.chunk(2, dim=1), list[Tensor])
    assert_type(x[0, ..., None], Tensor)
    assert_type(x > 0, Tensor)
    assert_type(x.argmax(dim=-1), Tensor)
    assert_type(x.data, np.ndarray)
    assert_type(x.grad, np.ndarray | None)
    assert_type(x.shape, tuple[int, ...])
    assert_type(x.detach().numpy(), np.ndarray)
    optim.SGD([w], lr=0.1).step()
    assert_type(nn.Sequential(nn.Linear(2, 3), ng.relu).state_dict(), dict[str, np.ndarray])
    assert_type(str(ng.gradcheck(ng.softmax, a)), str)


if __name__ == "__main__":
    print(train(200)[::50])
