"""Writes an exported graph anew, node by node, with a report."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportOptionalMemberAccess=false, reportGeneralTypeIssues=false
# (torch.fx types every argument of a node as a union of all that it could be)

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from ann2snn.graph import affine, linear, not_convertible
from ann2snn.graph.batch_norm import fold
from ann2snn.graph.clips import find_clips
from ann2snn.graph.modules import CONVOLUTIONS, TRANSPOSED, Affine, MaxPool
from ann2snn.graph.network import Network
from ann2snn.graph.operations import aliases, clip, is_active_dropout, is_constant, is_identity, is_in_place, operation
from ann2snn.graph.output_activation import output_activation
from ann2snn.graph.regions import inline
from ann2snn.graph.report import NodeReport, NotConvertible
from ann2snn.networks.activations import ThresholdReLU

RESERVED = ("graph", "meta", "code")  # attributes of a torch.fx.GraphModule


class Rewriter:
    """Writes the exported graph anew; `report` grows by one row a node."""

    def __init__(self, net: nn.Module, exported: torch.export.ExportedProgram):
        self.net, self.exported = net, exported
        self.root, self.graph, self.report = nn.Module(), fx.Graph(), []
        signature = exported.graph_signature
        places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        places |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
        stored = {**exported.state_dict, **exported.constants}
        self.tensors = {name: stored[path].detach() for name, path in places.items()}
        self.env: dict[fx.Node, fx.Node] = {}
        self.calls: dict[str, fx.Node] = {}  # calls of registered activation classes

    @property
    def eps(self) -> float:
        """The relative precision of the network's coarsest values."""
        values = (node.meta.get("val") for node in self.exported.graph.nodes)
        kinds = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
        return max(torch.finfo(kind).eps for kind in kinds)

    def write(self) -> Network:
        inline(self.exported.graph_module)
        self.fold_constants()
        inside = (node for node in self.exported.graph.nodes if not self.activation(node))
        self.clips = find_clips(inside, self.tensors)
        self.squash = output_activation(self.exported.graph)
        order = {node: i for i, node in enumerate(self.exported.graph.nodes)}
        for node in self.exported.graph.nodes:
            if node.op == "placeholder" and node.name not in self.tensors:
                self.env[node] = self.graph.placeholder("images")
            elif node.op == "call_function":
                self.function(node)
                changed = aliases(node.args[0]) if is_in_place(node) else ()
                if any(order[user] > order[node] for alias in changed for user in alias.users):
                    self.reject(node, not_convertible.IN_PLACE)
            elif node.op == "output":
                if len(node.args[0]) != 1 or not self.exported.call_spec.out_spec.is_leaf():
                    self.reject(node, not_convertible.OUTPUTS)
                elif node.args[0][0] not in self.env:
                    self.reject(node, not_convertible.OUTPUTS)
                else:
                    self.graph.output(self.env[node.args[0][0]])
        if any(row.role == "not convertible" for row in self.report):
            raise NotConvertible(self.report)
        ann = Network(self.root, self.graph)
        ann.graph.eliminate_dead_code()
        self.pools_before_activations(ann)
        ann.graph.lint()
        ann.recompile()
        return ann

    # what a node is called, and what is said of it

    def stack(self, node: fx.Node) -> list[tuple[str, str]]:
        """(call, path) of the modules around a node, outermost first."""
        entries = (node.meta.get("nn_module_stack") or {}).items()
        return [(call, entry[0]) for call, entry in entries if not call.startswith("_")]

    def module_path(self, node: fx.Node, kind: str) -> str:
        """The path of the module whose one operation this is; of a function, the module around it and the operation."""
        path = self.stack(node)[-1][1] if self.stack(node) else ""
        if path and not list(self.net.get_submodule(path).children()):
            return path
        return f"{path}.{kind}" if path else kind

    def report_node(self, node: fx.Node, role: str, note: str = "", name: str | None = None) -> None:
        kind = operation(node)
        self.report.append(NodeReport(name or self.module_path(node, kind), kind, role, note))

    def reject(self, node: fx.Node, note: str) -> None:
        self.report_node(node, "not convertible", note)
        self.env[node] = next(iter(self.env.values()))  # nothing is built any more; the walk goes on for the report

    def module(
        self, node: fx.Node, module: nn.Module, source: fx.Node, role: str, note: str = "", name: str = ""
    ) -> None:
        name = name or self.module_path(node, operation(node))
        taken = {"output", *(m.name for m in self.root.children())}  # statistics have that name for the network's
        unique = (
            name if name not in taken else next(f"{name}@{i}" for i in range(1, 10**6) if f"{name}@{i}" not in taken)
        )
        module.name = unique
        key = unique.replace(".", "_").replace("@", "_call")
        key = key if not hasattr(self.root, key) and key not in RESERVED else f"{key}_{len(taken)}"
        self.root.add_module(key, module)
        self.env[node] = self.graph.call_module(key, (source,))
        self.report_node(node, role, note, unique)

    def call(self, node: fx.Node, function: Callable, *arguments, role: str = "linear", **keywords) -> None:
        self.env[node] = self.graph.call_function(function, arguments, keywords)
        self.report_node(node, role)

    # one rule per kind of node

    def function(self, node: fx.Node) -> None:
        if node.meta.get("val") is None or isinstance(node.meta["val"], int | float | torch.SymInt | torch.SymBool):
            return  # sizes and assertions: nothing flows through them
        if node.name in self.tensors:
            return self.report_node(node, "folded", "a constant of the network")
        if activation := self.activation(node):
            return self.registered(node, *activation)
        if node is self.squash:
            self.env[node] = self.env[node.args[0]]
            return self.report_node(node, "dropped", "the largest output stays the largest")
        if node in self.clips.parts:
            return self.report_node(node, "folded", f"a part of {operation(self.clips.parts[node])}")
        if node in self.clips.bounds:
            return self.clipped(node, *self.clips.bounds[node])
        if node in self.clips.by_channel:
            return self.reject(node, not_convertible.CHANNEL_CLIP)
        if (same := self.clips.same.get(node)) and not is_identity(node):
            self.env[node] = self.env[same]
            return self.report_node(node, "folded", f"changes nothing after {operation(same)}")
        if bounds := clip(node):
            return self.reject(node, not_convertible.CLIP.format(low=bounds[0], high=bounds[1]))
        match operation(node):
            case "conv1d" | "conv2d" | "conv3d" | "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d":
                return self.convolution(node)
            case "linear":
                return self.linear(node)
            case "batch_norm":
                return self.batch_norm(node)
        if is_active_dropout(node):
            return self.reject(node, not_convertible.DROPOUT)
        if is_identity(node):
            self.env[node] = self.env[node.args[0]]
            return self.report_node(node, "folded", "the identity when a network is evaluated")
        if affine.write(self, node):
            return None
        if write := linear.handler(node):
            sizes = any(n not in self.env and n.name not in self.tensors for n in node.all_input_nodes)
            return (
                self.reject(node, not_convertible.SIZES) if sizes and write not in linear.SIZED else write(self, node)
            )
        self.reject(node, not_convertible.OF_OPERATION.get(operation(node), not_convertible.UNKNOWN))

    def operand(self, node: fx.Node) -> fx.Node:
        """The node that stands for an exported one; a tensor of the network's own becomes a buffer."""
        if node not in self.env:
            self.root.register_buffer(node.name, self.tensors[node.name].clone())
            self.env[node] = self.graph.get_attr(node.name)
        return self.env[node]

    def keeps_batch(self, node: fx.Node) -> bool:
        """The first dimension is the batch before and after."""
        inputs = (n.meta["val"] for n in node.all_input_nodes if n.name not in self.tensors)
        out = node.meta["val"] if isinstance(node.meta["val"], Tensor) else node.meta["val"][0]
        sizes = [value.shape[:1] for value in inputs if isinstance(value, Tensor)]
        return all(str(size) == str(out.shape[:1]) for size in sizes)

    def activation(self, node: fx.Node) -> tuple[str, ThresholdReLU] | None:
        """(call, module) of the registered activation that a node is inside of."""
        modules = ((call, self.net.get_submodule(path)) for call, path in self.stack(node))
        return next(((call, module) for call, module in modules if isinstance(module, ThresholdReLU)), None)

    def fold_constants(self) -> None:
        """Computes what depends on the network's own tensors alone."""
        for node in self.exported.graph.nodes:
            if is_constant(node, self.tensors):
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.tensors[n.name])
                self.tensors[node.name] = node.target(*args, **kwargs)

    def registered(self, node: fx.Node, call: str, module: ThresholdReLU) -> None:
        if call not in self.calls:
            source = self.env[next(n for n in node.all_input_nodes if n in self.env)]
            name = next(path for c, path in self.stack(node) if c == call)
            if not module.y_th > 0:
                self.report.append(
                    NodeReport(
                        name, module.kind, "not convertible", not_convertible.NEGATIVE.format(y_th=float(module.y_th))
                    )
                )
                self.calls[call] = self.env[node] = source
                return
            self.module(node, copy.deepcopy(module), source, "spiking", name=name)
            self.report[-1] = NodeReport(self.report[-1].name, module.kind, "spiking", module.extra_repr())
            self.calls[call] = self.env[node]
        self.env[node] = self.calls[call]

    def clipped(self, node: fx.Node, source: fx.Node, high: float) -> None:
        note = "" if math.isinf(high) else f"y_th={high:g}"
        self.module(node, ThresholdReLU(high), self.env[source], "spiking", note)

    def weights(self, node: fx.Node) -> tuple[Tensor, Tensor | None] | None:
        """(weight, bias) of a convolution or linear node, copied; None (and refused) where they are computed."""
        names = [n.name if isinstance(n, fx.Node) else n for n in (*node.args[1:3], None)[:2]]
        if any(name is not None and name not in self.tensors for name in names):
            return self.reject(node, not_convertible.WEIGHTS)
        weight, bias = (None if name is None else self.tensors[name].clone() for name in names)
        return weight, bias

    def convolution(self, node: fx.Node) -> None:
        if pair := self.weights(node):
            weight, bias = pair
            n = weight.dim() - 2
            given, transposed = node.args[3:], "transpose" in operation(node)
            if transposed:
                defaults = ([1] * n, [0] * n, [0] * n, 1, [1] * n)
                stride, padding, extra, groups, dilation = (*given, *defaults[len(given) :])
                conv = TRANSPOSED[n - 1](weight.shape[0], weight.shape[1] * groups, tuple(weight.shape[2:]), stride,
                                         padding, extra, groups, bias is not None, dilation, device="meta")  # fmt: skip
            else:
                stride, padding, dilation, groups = (*given, *([1] * n, [0] * n, [1] * n, 1)[len(given) :])
                conv = CONVOLUTIONS[n - 1](weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride,
                                           padding, dilation, groups, bias is not None, device="meta")  # fmt: skip
            self.weighted(node, conv, weight, bias)

    def linear(self, node: fx.Node) -> None:
        if pair := self.weights(node):
            weight, bias = pair
            self.weighted(
                node, nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta"), weight, bias
            )

    def weighted(self, node: fx.Node, layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
        layer.weight = nn.Parameter(weight)
        layer.bias = None if bias is None else nn.Parameter(bias)
        self.module(node, layer, self.env[node.args[0]], "weights")

    def batch_norm(self, node: fx.Node) -> None:
        source, *names = node.args[:5]
        weight, bias, mean, variance = (None if n is None else self.tensors.get(n.name) for n in names)
        training, _, eps = node.args[5:8]
        if training or mean is None:
            return self.reject(node, not_convertible.STATISTICS)
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
        layer, dims = self.layer_before(source), source.meta["val"].dim()
        if fold(layer, dims, mean, variance, eps, weight, bias):
            self.env[node] = self.env[source]
            return self.report_node(node, "folded", f"into {layer.name}")
        scale = (variance + eps).rsqrt() * weight
        note = "follows no weights of its own: kept as an exact affine map"
        self.module(node, Affine(scale, bias - mean * scale, dims), self.env[source], "affine", note)

    def layer_before(self, source: fx.Node) -> nn.Module | None:
        """The module that a value comes from, where nobody else reads it."""
        before = self.env[source]
        alone = all(len(node.users) == 1 for node, written in self.env.items() if written is before)
        return getattr(self.root, before.target) if alone and before.op == "call_module" else None

    def pools_before_activations(self, ann: fx.GraphModule) -> None:
        """maxpool(relu(x)) = relu(maxpool(x)): where nobody else sees the activation, its current is pooled instead."""
        for pool in list(ann.graph.nodes):
            module = ann.get_submodule(pool.target) if pool.op == "call_module" else None
            before = pool.args[0] if isinstance(module, MaxPool) else None
            if before is None or before.op != "call_module" or len(before.users) > 1:
                continue
            if isinstance(activation := ann.get_submodule(before.target), ThresholdReLU):
                with ann.graph.inserting_before(before):
                    moved = ann.graph.call_module(pool.target, before.args)
                pool.replace_all_uses_with(before)
                before.args = (moved,)
                ann.graph.erase_node(pool)
                at = next(i for i, row in enumerate(self.report) if row.name == module.name)
                self.report[at] = replace(self.report[at], note=f"moved before {activation.name}")
