"""Forward hooks on the activations of a prepared network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, fx

from ann2snn.graph.network import activations
from ann2snn.networks.activations import ThresholdReLU


@contextmanager
def capture_activations(
    ann: fx.GraphModule, hook: Callable[[ThresholdReLU, Tensor, Tensor], Tensor | None]
) -> Iterator[None]:
    """Inside, `hook(activation, its input, its output)` is called whenever an activation has run; what it returns, if
    anything, is passed on in the output's place."""
    hooks = [
        module.register_forward_hook(lambda module, inputs, out: hook(module, inputs[0], out))  # type: ignore
        for module in activations(ann).values()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def channel_mean(values: Tensor) -> Tensor:
    """(B, C, ...) -> (C, 1, 1) or (F,): the mean over images and places."""
    return values.mean([0, *range(2, values.dim())], keepdim=True)[0]
