"""What becomes a CUDA graph where there is a GPU, on a CPU: the same function, the same promises."""

from __future__ import annotations

import pytest
import torch
from compiled_runs import traced

from pyro_impl.compiled.compilation import _cuda_graph

pytestmark = pytest.mark.usefixtures("own_world")


def drawing_and_writing():
    """(function, its arguments, what it writes into)."""
    weights, count = torch.linspace(-1, 1, 6), torch.tensor(0)  # as batch normalisation counts

    def function(x):
        noise = torch.randn(6)
        count.add_(1)
        weights.mul_(0.9)
        x.add_(noise)
        return (x * weights).sum(), noise

    return function, [torch.ones(6)], [weights, count]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own import
def test_values_writes_and_random_numbers_are_the_eager_ones():
    function, eager, written = drawing_and_writing()
    torch.manual_seed(4)
    expected = [[t.clone() for t in function(*eager)] for _ in range(3)]
    state = torch.get_rng_state()

    function, arguments, found_written = drawing_and_writing()
    before = [t.clone() for t in (*arguments, *found_written)]
    graph = traced(function, arguments)
    for tensor, content in zip([*arguments, *found_written], before, strict=True):
        tensor.copy_(content)  # the record is a step that was taken
    torch.manual_seed(4)
    run = _cuda_graph(graph, [*graph.tensors, *arguments], found_written)
    found = [run(*graph.tensors, *arguments) for _ in range(3)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(list(ours), theirs)
    torch.testing.assert_close([*arguments, *found_written], [*eager, *written])
    assert torch.equal(torch.get_rng_state(), state)
