"""The graph of a prepared or converted network, with the metadata that its simulation needs."""

import json

import torch
from torch import Tensor, fx, nn
from torch.fx.graph_module import reduce_graph_module

from ann2snn.errors import UserError
from ann2snn.networks.activations import ThresholdReLU

META_KEYS = ("shape", "method", "version", "options", "T", "depends_on_T", "warmup")


class Network(fx.GraphModule):
    """A `torch.fx.GraphModule` whose `.meta` survives pickling, copying and state dicts.

    `.meta` holds the shape of one input (C, H, W) and the report of `prepare`; in a converted network also the method
    with its version and options, T if the conversion depends on it, and the steps of its warm-up. A state dict has
    these as its extra state, and `load_state_dict` rejects the state of another conversion.
    """

    def __reduce__(self):
        _, arguments = super().__reduce__()
        return _rebuild, arguments

    def get_extra_state(self) -> Tensor:
        """The metadata as JSON in a uint8 tensor, so that a state dict holds tensors only."""
        meta = {name: self.meta[name] for name in META_KEYS if name in self.meta}
        text = json.dumps(meta, default=lambda value: getattr(value, "__name__", type(value).__name__))
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state) -> None:
        """Does nothing: `_load_from_state_dict` compares the metadata before any tensor is copied."""

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if f"{prefix}_extra_state" in state_dict:
            self._check(_decoded(state_dict[f"{prefix}_extra_state"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check(self, other: dict) -> None:
        mine = _decoded(self.get_extra_state())
        used = [name for name in META_KEYS if name != "T" or mine.get("depends_on_T")]
        if differ := [name for name in used if mine.get(name) != other.get(name)]:
            raise UserError(
                f"This state dict is of a network with {differ[0]} = {other.get(differ[0])}, and this one has "
                f"{differ[0]} = {mine.get(differ[0])}: prepare and convert the network again in the same way first."
            )


def _decoded(state: Tensor) -> dict:
    try:
        return dict(json.loads(bytes(state.tolist())))
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            "The _extra_state of this state dict is damaged: save the network's state_dict() again."
        ) from error


def _rebuild(body: dict, import_block: str) -> Network:
    """Called by `torch.load` and `pickle`; the graph comes from the generated code, the metadata from `.meta`."""
    meta = body["meta"]
    module = reduce_graph_module(body, import_block)
    network = Network(module, module.graph)  # type: ignore[arg-type]
    network.meta = meta
    return network


HALF = (torch.float16, torch.bfloat16)


def activations(ann: fx.GraphModule) -> dict[str, ThresholdReLU]:
    """The activation calls by name, in forward order; `.y_th` and `.shift` are those of the source network."""
    return {str(m.name): m for m in modules_by_node(ann).values() if isinstance(m, ThresholdReLU)}


def modules_by_node(net: fx.GraphModule) -> dict[fx.Node, nn.Module]:
    """The module of every node that calls a module, in forward order."""
    return {n: net.get_submodule(n.target) for n in net.graph.nodes if n.op == "call_module"}
