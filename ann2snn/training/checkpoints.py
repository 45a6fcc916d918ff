"""Trained sources as files: where they lie, and what is refused when they are read."""

import hashlib
import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError
from ann2snn.files import seal, slug, unseal, write_atomic
from ann2snn.networks.registry import create
from ann2snn.reading import read_bytes
from ann2snn.training import source_info
from ann2snn.training.recipes import recipe_of

PARTS = ("loops", "optimizer_states", "lr_schedulers", "callbacks")  # of a training's checkpoint, besides its weights


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
    write_atomic(path, seal(file.getvalue()))


def load_source(path) -> tuple[nn.Module, dict]:
    """The network in eval mode and its info, from a file that `train` wrote; UserError for any other or damaged one."""
    content = read_bytes(path, "name the weights.pt of a trained source")
    try:
        source = loads(content)
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable(path, error) from error
    try:
        if not isinstance(source, dict):
            raise TypeError
        info, state, stated = source["info"], source["state_dict"], source["info"]["weights_hash"]
        source_info.validate(info)
        at = place(info)
        with torch.random.fork_rng([]):
            net = _create(info)
    except UserError as error:
        raise UserError(f"{path} cannot be built here: {error}") from error
    except (TypeError, KeyError, AttributeError, RuntimeError, ValueError, RecursionError) as error:
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


def loads(content: bytes):
    """What `torch.save` wrote: tensors and plain values, on the CPU.

    Raises:
        ValueError: The seal, or without one a checksum of the zip archive, is of other content.
        Exception: Whatever else a damaged file leads to.
    """
    content, sealed = unseal(content)
    if not sealed and zipfile.is_zipfile(file := io.BytesIO(content)):  # written by an older version
        with zipfile.ZipFile(file) as archive:
            if archive.testzip():
                raise ValueError("a checksum is of other content")
    with warnings.catch_warnings(action="ignore"):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def resumable(path: Path, net: nn.Module) -> bool:
    """Whether a training of `net` can go on from the checkpoint `path`; a damaged one is put aside, with a notice."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    try:
        checkpoint = loads(content)
        shapes = {name.removeprefix("net."): value.shape for name, value in checkpoint["state_dict"].items()}
        if shapes != {name: value.shape for name, value in net.state_dict().items()}:
            raise ValueError("its weights are of another network")
        if absent := [part for part in PARTS if not checkpoint[part]]:
            raise ValueError(f"it has no {absent[0]}")
        checkpoint["callbacks"]["EpochCheckpoint"]["seconds"]
        return True
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
        path.replace(kept := aside(path))
        print(f"{path} is damaged ({reason}): it is now {kept.name}, and the training starts again.", file=sys.stderr)
        return False


def aside(checkpoint: Path) -> Path:
    """Where a damaged checkpoint is kept until the training has ended."""
    return checkpoint.with_name(f"{checkpoint.name}.damaged")


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
    return create(info["network"], **chosen)


def unreadable(path: Path | str, error: Exception) -> UserError:
    """What a file is that `torch.load(weights_only=True)` failed on with `error`."""
    path, name = Path(path), "name a function that makes the network, as package.module:function"
    if "TorchScript" in str(error):
        return UserError(f"{path} holds a scripted network (torch.jit), which does not convert: {name}.")
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
        return UserError(
            f"{path} holds a whole pickled network, or other objects that run code when they are loaded: {name}."
        )
    ours = path.name == "weights.pt" and "sources" in path.absolute().parts
    fix = "remove it and train the source again" if ours else f"name the weights.pt of a trained source, or {name[5:]}"
    return UserError(f"{path} is damaged, or was not written by torch.save: {fix}.")
