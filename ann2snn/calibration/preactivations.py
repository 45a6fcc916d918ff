"""The pre-activations of the ANN, as targets of methods that calibrate layer by layer."""

from collections.abc import Iterator

import torch
from torch import Tensor, fx

BATCH = 32  # images that the ANN runs at once


class Preactivations:
    """The pre-activations and the output of the ANN on all images, read in forward order.

    The forward pass of every batch of images stops at each value that is asked for and continues at the next.
    """

    def __init__(self, ann: fx.GraphModule, images: Tensor):
        """`ann` is a prepared network, `images` are (N, C, H, W)."""
        self.passes = [_inputs_of_nodes(ann, batch) for batch in images.to(next(ann.parameters())).split(BATCH)]

    def of(self, name: str) -> Tensor:
        """Input (N, ...) of the module or output node with this name, which comes after all those asked for before."""
        return torch.cat([next(value for node, value in run if node == name) for run in self.passes])


def _inputs_of_nodes(ann: fx.GraphModule, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    interpreter = fx.Interpreter(ann)
    interpreter.args_iter = iter((images,))
    for node in ann.graph.nodes:
        if node.op in ("call_module", "output"):
            yield node.name, interpreter.env[node.all_input_nodes[0]]
        interpreter.env[node] = interpreter.run_node(node)
        for unused in interpreter.user_to_last_uses.get(node, []):
            del interpreter.env[unused]
