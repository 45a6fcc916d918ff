"""TODO"""

import io
import logging
import math
from contextlib import redirect_stderr, redirect_stdout

import torch
from torch import Tensor, fx, nn

from ann2snn.errors import UserError
from ann2snn.graph.checks import check_example, check_network, first_line, not_captured
from ann2snn.graph.network import HALF, Network, activations
from ann2snn.graph.operations import operation
from ann2snn.graph.output_activation import output_without, print_dropped
from ann2snn.graph.rewriter import Rewriter
from ann2snn.graph.unwrap import unwrap
from ann2snn.networks.activations import QCFS


def prepare(net: nn.Module, example: Tensor) -> Network:
    """A folded copy of the trained `net` in eval mode, one named module per activation call; `net` stays as it is.

    A network in half precision is prepared in float32, in which membranes and outputs are summed over time.

    `example` is a batch of one or more inputs (B, C, H, W). The result maps (B, C, H, W) to the network's output for
    any B, was compared with `net` at batches of 1, 2 and 5, and keeps its report in `.meta["report"]`. A softmax over
    the classes or a sigmoid at the end is dropped, with one line on stderr: the largest output stays the largest.

    Raises NotConvertible (a UserError; it holds the report) where a node has no spiking form, and UserError for weights
    that are not finite, an input of the wrong shape, or a network that cannot be captured.
    """
    if not isinstance(net, nn.Module) or not isinstance(example, Tensor):
        raise UserError(
            "prepare takes a torch.nn.Module and an example tensor (1, C, H, W), normalised as in training."
        )
    check_example(example)
    net = unwrap(net)
    example = example.detach()[:1].repeat(2, *[1] * (example.dim() - 1))
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_meta:
            raise UserError(f"{name} is on the meta device, without values: load the weights first.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{name} holds values that are not finite (NaN or infinity): train the network again.")
        if value.dtype in HALF:
            net, example = net.float(), example.float()
    check_network(net, example)
    silenced = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # of torch.export, which also prints whole graphs before it raises
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            exported = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:
        raise not_captured(error) from error
    finally:
        logging.disable(silenced)
    rewriter = Rewriter(net, exported)
    ann = rewriter.write()
    ann.meta |= {"report": rewriter.report, "shape": tuple(example.shape[1:])}
    if not activations(ann) or not any(True for _ in ann.parameters()):
        raise UserError("The network has no activation that could spike, or no weights: there is nothing to convert.")
    _compare(net, ann, example, rewriter)
    print_dropped(rewriter.report)
    return ann.eval().requires_grad_(False)


def _compare(net: nn.Module, ann: fx.GraphModule, example: Tensor, rewriter: Rewriter) -> None:
    """The written graph must give the network's outputs, whatever the batch size.

    Stairs are compared as the clips that they go round: rounding moves a value to the next step.
    """
    stairs = {module: module.L for part in (net, ann) for module in part.modules() if isinstance(module, QCFS)}
    for module in stairs:
        module.L = math.inf
    noise, eps = torch.Generator().manual_seed(0), rewriter.eps
    with torch.no_grad():
        for size in (1, 2, 5):
            x = example[:1].repeat(size, *[1] * (example.dim() - 1))
            x = x + (0.1 * x.std(correction=0) + 1e-3) * torch.randn(x.shape, generator=noise).to(x)
            squash = rewriter.squash
            try:
                found = ann(x)
                expected = output_without(net, operation(squash), x.clone()) if squash else net(x.clone())
            except RuntimeError as error:
                raise UserError(f"The network fails on a batch of {size}: {first_line(error)}") from error
            if size == 1 and expected.numel() == found.numel():
                expected = expected.reshape(found.shape)  # squeeze() in the network drops the batch
            found, largest = found.to(expected), expected.abs().max().item()
            if not torch.allclose(expected, found, rtol=max(1e-3, 8 * eps), atol=max(1e-4, eps) * (1 + largest)):
                worst = (expected - found).abs().max().item()
                raise UserError(
                    f"The written graph differs from the network by {worst:.2g} at batch size {size}: please report it."
                )
    for module, L in stairs.items():
        module.L = L
