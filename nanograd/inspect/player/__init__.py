"""The tape player: a traced computation as one page on which its backward is stepped, op by op."""

from collections.abc import Mapping
from os import PathLike

from nanograd._tensor import Tensor
from nanograd.inspect.player.page import render
from nanograd.inspect.player.rows import Played
from nanograd.inspect.trace import Trace, leaf_names, reachable
from nanograd.op import observe
from nanograd.runtime.files import write_text
from nanograd.tape import backpropagate


def graph(
    loss: Tensor,
    path: str | PathLike[str] | None = None,
    *,
    names: Mapping[str, Tensor] | None = None,
    title: str = "Backward, step by step",
    appendix: str = "",
) -> str:
    """Return the page that plays the backward of a traced loss, and write it to `path` if given.

    The page is one file of HTML, without network, the same to the byte for the same computation. `names` names leaves
    that no module names. appendix is HTML put at its end as it is, such as `heat.heatmap` makes it. `.grad` and the tape
    stay as they are: where backward has run already, inside the trace, that is what is played.

    >>> from nanograd.inspect.trace import trace
    >>> a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    >>> with trace():
    ...     loss = a * b
    >>> page = graph(loss, names={"a": a, "b": b})
    >>> "Step 1 of 2" in page
    True
    """
    if loss.node is None:
        raise ValueError("graph: the loss is a leaf; there is no backward to play")
    nodes = reachable(loss.node)
    if loss.node.parents is not None:
        with observe(Trace()):
            backpropagate([(loss.node, loss.cotangent())], lambda leaf, dx, owned: None, retain_graph=True)
    elif loss.node.record.visit is None:
        raise ValueError("graph: backward ran outside of the trace; run it inside, or graph the loss before it")
    leaves = leaf_names(nodes)
    leaves.update({leaf: name for name, leaf in (names or {}).items() if leaf in leaves})
    page = render(Played(nodes, leaves), title, appendix)
    if path is not None:
        write_text(path, page)
    return page
