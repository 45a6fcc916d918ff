"""Rewrites an exported graph as a graph of named modules, node by node, with a report."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from ann2snn.graph import not_convertible
from ann2snn.graph.clips import find_clips
from ann2snn.graph.modules import MaxPool
from ann2snn.graph.network import Network
from ann2snn.graph.operations import aliases, is_constant, is_in_place, node_of, operation
from ann2snn.graph.output_activation import output_activation
from ann2snn.graph.regions import inline
from ann2snn.graph.report import NodeReport, NotConvertible
from ann2snn.graph.rules import RULES
from ann2snn.networks.activations import ThresholdReLU

RESERVED = ("graph", "meta", "code")  # attributes of a torch.fx.GraphModule


class Rewriter:
    """Rewrites an exported program as a `Network`.

    Attributes:
        report: One row per node, in the order of the graph.
        env: The new node of every exported node that has been rewritten.
        tensors: The network's own tensors by the name of their node: parameters, buffers, and what is computed from
            them alone.
        calls: The new node of every call of an activation module of this package.
        clips: The groups of operations that are clips.
        squash: The softmax or sigmoid at the end that is dropped; None if there is none.

    Args:
        net: The network that was exported.
        exported: The result of `torch.export.export`.
    """

    def __init__(self, net: nn.Module, exported: torch.export.ExportedProgram):
        self.net, self.exported = net, exported
        self.root, self.graph = nn.Module(), fx.Graph()
        self.report: list[NodeReport] = []
        signature = exported.graph_signature
        paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        paths |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
        stored = {**exported.state_dict, **exported.constants}
        self.tensors = {name: stored[path].detach() for name, path in paths.items()}
        self.env: dict[fx.Node, fx.Node] = {}
        self.calls: dict[str, fx.Node] = {}

    @property
    def eps(self) -> float:
        """The largest machine epsilon of all floating-point types in the network."""
        values = (node.meta.get("val") for node in self.exported.graph.nodes)
        dtypes = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
        return max(torch.finfo(dtype).eps for dtype in dtypes)

    def rewrite(self) -> Network:
        """The rewritten network.

        Raises:
            NotConvertible: A node has no spiking form; the error holds the report.
        """
        inline(self.exported.graph_module)
        self._fold_constants()
        nodes = list(self.exported.graph.nodes)
        self.clips = find_clips((node for node in nodes if not self.activation(node)), self.tensors)
        self.squash = output_activation(self.exported.graph)
        order = {node: i for i, node in enumerate(nodes)}
        for node in nodes:
            if node.op == "placeholder" and node.name not in self.tensors:
                self.env[node] = self.graph.placeholder("images")
            elif node.op == "call_function":
                self._apply_rules(node)
                changed = aliases(node.args[0]) if is_in_place(node) else ()
                if any(order[user] > order[node] for alias in changed for user in alias.users):
                    self.reject(node, not_convertible.IN_PLACE)
            elif node.op == "output":
                self._output(node)
        if any(row.role == "not convertible" for row in self.report):
            raise NotConvertible(self.report)
        ann = Network(self.root, self.graph)
        ann.graph.eliminate_dead_code()
        self._pool_before_activations(ann)
        ann.graph.lint()
        ann.recompile()
        return ann

    def _apply_rules(self, node: fx.Node) -> None:
        for rule in RULES:
            if rule(self, node):
                return

    # names and reports

    def stack(self, node: fx.Node) -> list[tuple[str, str]]:
        """(call, path) of the modules around a node, outermost first."""
        entries = (node.meta.get("nn_module_stack") or {}).items()
        return [(call, entry[0]) for call, entry in entries if not call.startswith("_")]

    def module_path(self, node: fx.Node) -> str:
        """The path of the leaf module that `node` is in, or that of the module around it and the operation's name."""
        name = operation(node)
        stack = self.stack(node)
        path = stack[-1][1] if stack else ""
        if path and not list(self.net.get_submodule(path).children()):
            return path
        return f"{path}.{name}" if path else name

    def report_node(self, node: fx.Node, role: str, note: str = "", path: str = "", operation_name: str = "") -> None:
        """Adds a row to the report; by default with `module_path` and the name of the operation."""
        row = NodeReport(path or self.module_path(node), operation_name or operation(node), role, note)
        self.report.append(row)

    def reject(self, node: fx.Node, note: str) -> None:
        """Reports `node` as not convertible; the remaining nodes are rewritten for their reports only."""
        self.report_node(node, "not convertible", note)
        self.env[node] = next(iter(self.env.values()))  # a stand-in

    # new nodes

    def module(
        self,
        node: fx.Node,
        module: nn.Module,
        source: fx.Node,
        role: str,
        note: str = "",
        path: str = "",
        operation_name: str = "",
    ) -> None:
        """Rewrites `node` as a call of `module` on the new node `source`.

        `module.name` becomes `path` (by default `module_path`), with `@1`, `@2`, ... for further calls.
        """
        path = path or self.module_path(node)
        taken = {"output", *(m.name for m in self.root.children())}  # "output" names the statistics of the output
        name = path if path not in taken else next(f"{path}@{i}" for i in range(1, 10**6) if f"{path}@{i}" not in taken)
        module.name = name  # type: ignore[assignment]
        key = name.replace(".", "_").replace("@", "_call")
        key = key if not hasattr(self.root, key) and key not in RESERVED else f"{key}_{len(taken)}"
        self.root.add_module(key, module)
        self.env[node] = self.graph.call_module(key, (source,))
        self.report_node(node, role, note, name, operation_name)

    def call(self, node: fx.Node, function: Callable, *arguments, role: str = "linear", **keywords) -> None:
        """Rewrites `node` as a call of `function`."""
        self.env[node] = self.graph.call_function(function, arguments, keywords)
        self.report_node(node, role)

    def operand(self, node: fx.Node) -> fx.Node:
        """The new node of an exported one; a tensor of the network's own becomes a buffer."""
        if node not in self.env:
            self.root.register_buffer(node.name, self.tensors[node.name].clone())
            self.env[node] = self.graph.get_attr(node.name)
        return self.env[node]

    def _output(self, node: fx.Node) -> None:
        results = node.args[0]
        if len(results) != 1 or not self.exported.call_spec.out_spec.is_leaf() or results[0] not in self.env:  # type: ignore
            self.reject(node, not_convertible.OUTPUTS)
        else:
            self.graph.output(self.env[results[0]])  # type: ignore

    # properties of exported nodes

    def keeps_batch(self, node: fx.Node) -> bool:
        """Whether the first dimension of all inputs and of the output is the batch."""
        inputs = (n.meta["val"] for n in node.all_input_nodes if n.name not in self.tensors)
        out = node.meta["val"] if isinstance(node.meta["val"], Tensor) else node.meta["val"][0]
        sizes = [value.shape[:1] for value in inputs if isinstance(value, Tensor)]
        return all(str(size) == str(out.shape[:1]) for size in sizes)

    def activation(self, node: fx.Node) -> tuple[str, ThresholdReLU] | None:
        """(call, module) of the activation module of this package that `node` is in; None if there is none."""
        for call, path in self.stack(node):
            module = self.net.get_submodule(path)
            if isinstance(module, ThresholdReLU):
                return call, module
        return None

    def layer_before(self, source: fx.Node) -> nn.Module | None:
        """The new module whose output `source` is, if nothing else reads it; else None."""
        before = self.env[source]
        only_reader = all(len(node.users) == 1 for node, new in self.env.items() if new is before)
        return getattr(self.root, str(before.target)) if only_reader and before.op == "call_module" else None

    # passes over the whole graph

    def _fold_constants(self) -> None:
        """Computes what depends on the network's own tensors alone."""
        for node in self.exported.graph.nodes:
            if is_constant(node, self.tensors):
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.tensors[n.name])
                self.tensors[node.name] = node.target(*args, **kwargs)

    def _pool_before_activations(self, ann: fx.GraphModule) -> None:
        """Moves max pools before the activations that only they read: maxpool(relu(x)) = relu(maxpool(x))."""
        for pool in list(ann.graph.nodes):
            module = ann.get_submodule(pool.target) if pool.op == "call_module" else None
            if not isinstance(module, MaxPool):
                continue
            before = node_of(pool.args[0])
            if before.op != "call_module" or len(before.users) > 1:
                continue
            activation = ann.get_submodule(str(before.target))
            if isinstance(activation, ThresholdReLU):
                with ann.graph.inserting_before(before):
                    moved = ann.graph.call_module(pool.target, before.args)
                pool.replace_all_uses_with(before)
                before.args = (moved,)
                ann.graph.erase_node(pool)
                at = next(i for i, row in enumerate(self.report) if row.name == module.name)
                self.report[at] = replace(self.report[at], note=f"moved before {activation.name}")
