"""Prepares trained networks for conversion."""

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
    """Copies a trained network into a graph with folded batch norms and one named module per activation call.

    A softmax over the classes or a sigmoid at the end is dropped, with one line on stderr, as the largest output stays
    the largest. A network in half precision is converted to float32, in which membrane potentials and outputs are
    summed over time.

    Args:
        net: The trained network. It is not changed.
        example: A batch of one or more inputs (B, C, H, W), normalised as in training.

    Returns:
        A network in eval mode that maps (B, C, H, W) to the output of `net` for any B; the two are compared at batch
        sizes 1, 2 and 5. `.meta["report"]` lists what became of every node.

    Raises:
        NotConvertible: A node has no spiking form; the error holds the report.
        UserError: Weights are not finite, the input has the wrong shape, or the network cannot be captured.
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
    logging.disable(logging.CRITICAL)  # torch.export logs and prints entire graphs before it raises
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            exported = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:
        raise not_captured(error) from error
    finally:
        logging.disable(silenced)
    rewriter = Rewriter(net, exported)
    ann = rewriter.rewrite()
    ann.meta |= {"report": rewriter.report, "shape": tuple(example.shape[1:])}
    if not activations(ann) or not any(True for _ in ann.parameters()):
        raise UserError("The network has no activation that could spike, or no weights: there is nothing to convert.")
    _compare(net, ann, example, rewriter)
    print_dropped(rewriter.report)
    return ann.eval().requires_grad_(False)


def _compare(net: nn.Module, ann: fx.GraphModule, example: Tensor, rewriter: Rewriter) -> None:
    """Raises a UserError unless `ann` and `net` have the same outputs at several batch sizes.

    QCFS activations are compared without their quantisation, as rounding errors can move a value to the next step.
    """
    steps = {module: module.L for part in (net, ann) for module in part.modules() if isinstance(module, QCFS)}
    for module in steps:
        module.L = math.inf
    noise, eps = torch.Generator().manual_seed(0), rewriter.eps
    with torch.no_grad():
        for size in (1, 2, 5):
            x = example[:1].repeat(size, *[1] * (example.dim() - 1))
            x = x + (0.1 * x.std(correction=0) + 1e-3) * torch.randn(x.shape, generator=noise).to(x)
            squash = rewriter.squash
            try:
                outputs = ann(x)
                expected = output_without(net, operation(squash), x.clone()) if squash else net(x.clone())
            except RuntimeError as error:
                raise UserError(f"The network fails on a batch of {size}: {first_line(error)}") from error
            if size == 1 and expected.numel() == outputs.numel():
                expected = expected.reshape(outputs.shape)  # squeeze() in the network drops the batch
            outputs, largest = outputs.to(expected), expected.abs().max().item()
            if not torch.allclose(expected, outputs, rtol=max(1e-3, 8 * eps), atol=max(1e-4, eps) * (1 + largest)):
                worst = (expected - outputs).abs().max().item()
                raise UserError(
                    f"The written graph differs from the network by {worst:.2g} at batch size {size}: please report it."
                )
    for module, L in steps.items():
        module.L = L
