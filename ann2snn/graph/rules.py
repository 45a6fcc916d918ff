"""What becomes of a function call of an exported graph: a table of rules, of which the first that applies is used.

A rule takes the rewriter and the exported node. It returns False, and changes nothing, where it does not apply.
"""

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import fx

from ann2snn.graph import affine, linear, not_convertible, weight_layers
from ann2snn.graph.operations import clip, is_active_dropout, is_identity, operation
from ann2snn.networks.activations import ThresholdReLU

if TYPE_CHECKING:
    from ann2snn.graph.rewriter import Rewriter


def size_or_assertion(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A node without a tensor; the network's values do not depend on it."""
    return node.meta.get("val") is None or isinstance(node.meta["val"], int | float | torch.SymInt | torch.SymBool)


def constant(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A node that depends on the network's own tensors only."""
    if node.name not in rewriter.tensors:
        return False
    rewriter.report_node(node, "folded", "a constant of the network")
    return True


def registered_activation(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A node inside an activation module of this package; the whole call becomes one copy of the module."""
    found = rewriter.activation(node)
    if found is None:
        return False
    call, module = found
    if call not in rewriter.calls:
        source = rewriter.env[next(n for n in node.all_input_nodes if n in rewriter.env)]
        path = next(path for c, path in rewriter.stack(node) if c == call)
        if module.y_th > 0:
            note = module.extra_repr()
            copied = copy.deepcopy(module)
            rewriter.module(node, copied, source, "spiking", note, path=path, operation_name=module.kind)
            rewriter.calls[call] = rewriter.env[node]
        else:
            note = not_convertible.NEGATIVE.format(y_th=float(module.y_th))
            rewriter.report_node(node, "not convertible", note, path, module.kind)
            rewriter.calls[call] = source
    rewriter.env[node] = rewriter.calls[call]
    return True


def output_activation(rewriter: "Rewriter", node: fx.Node) -> bool:
    """The softmax or sigmoid at the end of the network, which is dropped."""
    if node is not rewriter.squash:
        return False
    rewriter.env[node] = rewriter.env[node.args[0]]  # type: ignore[index]
    rewriter.report_node(node, "dropped", "the largest output stays the largest")
    return True


def part_of_clip(rewriter: "Rewriter", node: fx.Node) -> bool:
    """An operation inside a group that is written as one clip."""
    if node not in rewriter.clips.parts:
        return False
    rewriter.report_node(node, "folded", f"a part of {operation(rewriter.clips.parts[node])}")
    return True


def threshold_relu(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A clip from 0 to a constant, or a ReLU: a spiking activation."""
    if node not in rewriter.clips.bounds:
        return False
    source, high = rewriter.clips.bounds[node]
    note = "" if math.isinf(high) else f"y_th={high:g}"
    rewriter.module(node, ThresholdReLU(high), rewriter.env[source], "spiking", note)
    return True


def channel_clip(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A clip whose upper bound varies within the layer."""
    if node not in rewriter.clips.by_channel:
        return False
    rewriter.reject(node, not_convertible.CHANNEL_CLIP)
    return True


def redundant_clip(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A clip that changes no value of its input."""
    same = rewriter.clips.same.get(node)
    if same is None or is_identity(node):
        return False
    rewriter.env[node] = rewriter.env[same]
    rewriter.report_node(node, "folded", f"changes nothing after {operation(same)}")
    return True


def other_clip(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A clip to a range that does not begin at 0."""
    bounds = clip(node)
    if bounds is None:
        return False
    rewriter.reject(node, not_convertible.CLIP.format(low=bounds[0], high=bounds[1]))
    return True


def weights(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A convolution, a linear layer or a batch norm."""
    handler = weight_layers.HANDLERS.get(operation(node))
    if handler is None:
        return False
    handler(rewriter, node)
    return True


def active_dropout(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A dropout that also drops values in eval mode."""
    if not is_active_dropout(node):
        return False
    rewriter.reject(node, not_convertible.DROPOUT)
    return True


def identity(rewriter: "Rewriter", node: fx.Node) -> bool:
    """A node that returns its input in eval mode."""
    if not is_identity(node):
        return False
    rewriter.env[node] = rewriter.env[node.args[0]]  # type: ignore[index]
    rewriter.report_node(node, "folded", "the identity when a network is evaluated")
    return True


def linear_operation(rewriter: "Rewriter", node: fx.Node) -> bool:
    """An operation without weights that commutes with the mean over time."""
    handler = linear.handler(node)
    if handler is None:
        return False
    needs_size = any(n not in rewriter.env and n.name not in rewriter.tensors for n in node.all_input_nodes)
    if needs_size and handler not in linear.SIZED:
        rewriter.reject(node, not_convertible.SIZES)
    else:
        handler(rewriter, node)
    return True


def unsupported(rewriter: "Rewriter", node: fx.Node) -> bool:
    """Any other operation."""
    rewriter.reject(node, not_convertible.OF_OPERATION.get(operation(node), not_convertible.UNKNOWN))
    return True


RULES: tuple[Callable[["Rewriter", fx.Node], bool], ...] = (
    size_or_assertion,
    constant,
    registered_activation,
    output_activation,
    part_of_clip,
    threshold_relu,
    channel_clip,
    redundant_clip,
    other_clip,
    weights,
    active_dropout,
    identity,
    affine.rewrite,
    linear_operation,
    unsupported,
)
