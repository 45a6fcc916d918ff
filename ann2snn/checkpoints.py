"""Trained sources as files: where they lie, and what is refused when they are read."""

import hashlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ann2snn import networks
from ann2snn.errors import UserError
from ann2snn.foreign_files import unreadable
from ann2snn.recipes import recipe_of
from ann2snn.records import slug, write_atomic


def describe(data, network: str, activation: str, seed: int, recipe: str | None = None) -> dict:
    """What a source is: all that its weights depend on; the recipe's key stands for the hyper-parameters."""
    info = {"dataset": data.name, "data_hash": data.hash, "network": network, "activation": activation, "seed": seed}
    shape = tuple(data.shape)
    return info | {
        "recipe": recipe_of(data.name, network, recipe).key,
        "num_classes": data.classes,
        "in_chans": shape[0],
        "shape": shape,
        "training_seconds": None,
    }


def weights_file(data, network: str, activation: str, seed: int, root, recipe: str | None = None) -> Path:
    """Where the finished weights of a source lie: the key of all that they depend on."""
    return Path(root) / place(describe(data, network, activation, seed, recipe))


def place(info: dict) -> Path:
    """Where a source lies below the root of all results: all of one network and activation in one folder."""
    if info["seed"] is None:
        made = f"imported-{slug(info['recipe'])}"
    else:
        made = f"seed{info['seed']}-{info['recipe']}-{info['data_hash'][:8]}"
    kind = f"{slug(info['network'])}-{slug(info['activation'])}"
    return Path("sources") / slug(info["dataset"]) / kind / made / "weights.pt"


def save_source(net: nn.Module, info: dict, path: Path) -> None:
    """Writes a network and its info whole or not at all, with the hash of its weights.

    Where half precision holds every weight exactly, the file is in half precision.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    info, file = info | {"weights_hash": weights_hash(state)}, io.BytesIO()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    exact = all(torch.equal(halves[name].to(value.dtype), value) for name, value in state.items())
    torch.save({"info": info, "state_dict": halves if exact else state}, file)
    write_atomic(path, file.getvalue())


def load_source(path) -> tuple[nn.Module, dict]:
    """The network in eval mode and its info, from a file that `train` wrote; UserError for any other or damaged one."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); name the weights.pt of a trained source."
        ) from error
    try:
        with warnings.catch_warnings(action="ignore"):
            source = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable(path, error) from error
    try:
        if not isinstance(source, dict):
            raise TypeError
        info, state, stated = source["info"], source["state_dict"], source["info"]["weights_hash"]
        at = place(info)
        with torch.random.fork_rng([]):
            net = _create(info)
    except UserError as error:
        raise UserError(f"{path} cannot be built here: {error}") from error
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is no source of ann2snn: name a weights.pt that `ann2snn train` or `ann2snn import` wrote, or a"
            " network by its import path."
        ) from error
    try:
        net.load_state_dict(state)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is no source of ann2snn: its weights are not those of {info['network']}; remove it and train the"
            " source again."
        ) from error
    found = Path(path).absolute().parts[-len(at.parts) :]
    if found[0] == "sources" and found != at.parts:
        raise UserError(f"{path} holds another source than its place says: move it to {at}, and run this again.")
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path} has a NaN or an infinity in {name}; remove it and train the source again.")
    if weights_hash(net) != stated:
        raise UserError(f"{path} has other weights than its hash says; remove it and train the source again.")
    return net.eval(), info


def weights_hash(net: nn.Module | dict[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and bytes of all parameters and buffers, in the order of their names."""
    state = net.state_dict() if isinstance(net, nn.Module) else net
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def untrained(info: dict, seed: int) -> nn.Module:
    """The network that a training begins with; the caller's random state stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return _create(info)


def _create(info: dict) -> nn.Module:
    chosen = {name: info[name] for name in ("num_classes", "in_chans", "activation")}
    return networks.create(info["network"], **chosen)
