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
    """Context manager that calls `hook(activation, input, output)` after every activation of `ann`.

    Args:
        ann: The result of `prepare`.
        hook: If it returns a tensor, this replaces the output.
    """
    handles = [
        module.register_forward_hook(lambda module, inputs, out: hook(module, inputs[0], out))  # type: ignore
        for module in activations(ann).values()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def channel_mean(values: Tensor) -> Tensor:
    """The mean over images and positions: (B, C, H, W) -> (C, 1, 1), or (B, F) -> (F,)."""
    return values.mean([0, *range(2, values.dim())], keepdim=True)[0]
