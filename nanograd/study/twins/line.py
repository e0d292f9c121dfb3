"""A Twin says one numbered line of a docstring again, in NumPy, so that the line can be put to numbers."""

from typing import NamedTuple


class Twin(NamedTuple):
    """The NumPy twin of one printed line.

    name: what later lines call the value; "q, k, v" where a line makes several, "varied" where it sets two sides equal.
    code: the line as one expression over the op's arrays, its options, `dy`, the words of `study/words.py` and what other
        lines are called. Where a line sets two sides equal, without a name for either, it is the side with the algebra.
    why: the reason of the step.
    against: what the value must equal, found another way; None for what the name says: y and loss are compared with the op,
        dx with finite differences of the op and with its backward, dn with finite differences by n.
    also: the other expressions that the same line says are equal, and a second way to the same value.
    """

    name: str
    code: str
    why: str
    against: str | None = None
    also: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Return the line in NumPy as it is shown beside the printed one: `y = np.exp(x)`, or `2 * y * δy == δx`."""
        return f"{self.code} == {self.against}" if self.name == "varied" else f"{self.name} = {self.code}"
