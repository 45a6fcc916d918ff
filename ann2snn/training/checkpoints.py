"""Trained sources as files: saving, checked loading, and checkpoints of interrupted trainings."""

import hashlib
import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ann2snn.errors import UserError
from ann2snn.files import seal, unseal, write_atomic
from ann2snn.networks.registry import create
from ann2snn.reading import read_bytes
from ann2snn.training.source_info import source_info, source_path, validate

RESUME_STATE = ("loops", "optimizer_states", "lr_schedulers", "callbacks")  # of a training checkpoint, besides weights


def weights_file(data, network: str, activation: str, seed: int, root, recipe: str | None = None) -> Path:
    """Path of a source's finished weights below `root`. The arguments are those of `source_info`."""
    return Path(root) / source_path(source_info(data, network, activation, seed, recipe))


def save_source(net: nn.Module, info: dict, path: Path) -> None:
    """Writes a network and its info atomically, with the hash of its weights.

    The file holds half precision if that represents every weight exactly.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    info = info | {"weights_hash": weights_hash(state)}
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    is_exact = all(torch.equal(half[name].to(value.dtype), value) for name, value in state.items())
    file = io.BytesIO()
    torch.save({"info": info, "state_dict": half if is_exact else state}, file)
    write_atomic(path, seal(file.getvalue()))


def load_source(path) -> tuple[nn.Module, dict]:
    """Loads a source that `save_source` wrote, and checks its info, path and weights.

    Args:
        path: A `weights.pt`.

    Returns:
        The network in eval mode, and its info.

    Raises:
        UserError: The file is damaged, is not a source, or belongs to another path.
    """
    content = read_bytes(path, "name the weights.pt of a trained source")
    try:
        source = load_tensors(content)
    except Exception as error:  # a damaged pickle can raise anything
        raise load_error(path, error) from error
    try:
        if not isinstance(source, dict):
            raise TypeError
        info, state = source["info"], source["state_dict"]
        recorded_hash = info["weights_hash"]
        validate(info)
        expected = source_path(info)
        with torch.random.fork_rng([]):
            net = _create(info)
    except UserError as error:
        raise UserError(f"{path} cannot be built here: {error}") from error
    except (TypeError, KeyError, AttributeError, RuntimeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a source of ann2snn: name a weights.pt that `ann2snn train` or `ann2snn import` wrote, or a"
            " network by its import path."
        ) from error
    try:
        net.load_state_dict(state)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a source of ann2snn: its weights are not those of {info['network']}; remove it and train"
            " the source again."
        ) from error
    actual = Path(path).absolute().parts[-len(expected.parts) :]
    if actual[0] == "sources" and actual != expected.parts:
        raise UserError(
            f"{path} holds another source than its path says: move it to {expected}, and run the same command again."
        )
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path} has a NaN or an infinity in {name}; remove it and train the source again.")
    if weights_hash(net) != recorded_hash:
        raise UserError(f"{path} has other weights than its hash says; remove it and train the source again.")
    return net.eval(), info


def load_tensors(content: bytes) -> Any:
    """Loads the content of a `torch.save` file: tensors and plain values only, on the CPU.

    Args:
        content: With or without a seal (`ann2snn.files.seal`). An unsealed zip archive is checked by its checksums.

    Raises:
        ValueError: The seal or a checksum does not match.
        Exception: Any other error that a damaged pickle causes.
    """
    content, is_sealed = unseal(content)
    file = io.BytesIO(content)
    if not is_sealed and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if archive.testzip():
                raise ValueError("a checksum does not match")
    with warnings.catch_warnings(action="ignore"):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def load_error(path: Path | str, error: Exception) -> UserError:
    """The UserError for a file on which `load_tensors` failed with `error`."""
    path = Path(path)
    make_network = "name a function that makes the network, as package.module:function"
    if "TorchScript" in str(error):
        return UserError(f"{path} holds a scripted network (torch.jit), which does not convert: {make_network}.")
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
        return UserError(
            f"{path} holds a whole pickled network, or other objects that run code when they are loaded:"
            f" {make_network}."
        )
    is_ours = path.name == "weights.pt" and "sources" in path.absolute().parts
    fix = "remove it and train the source again"
    if not is_ours:
        fix = f"name the weights.pt of a trained source, or {make_network.removeprefix('name ')}"
    return UserError(f"{path} is damaged, or was not written by torch.save: {fix}.")


def can_resume(path: Path, net: nn.Module) -> bool:
    """Whether the training of `net` can resume from the checkpoint `path`.

    A damaged checkpoint is renamed to `damaged_path(path)`, with a notice on stderr.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    try:
        checkpoint = load_tensors(content)
        shapes = {name.removeprefix("net."): value.shape for name, value in checkpoint["state_dict"].items()}
        if shapes != {name: value.shape for name, value in net.state_dict().items()}:
            raise ValueError("its weights are of another network")
        if missing := [part for part in RESUME_STATE if not checkpoint[part]]:
            raise ValueError(f"it has no {missing[0]}")
        checkpoint["callbacks"]["EpochCheckpoint"]["seconds"]
        return True
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
        renamed = damaged_path(path)
        path.replace(renamed)
        print(
            f"{path} is damaged ({reason}): it is now {renamed.name}, and the training starts again.", file=sys.stderr
        )
        return False


def damaged_path(checkpoint: Path) -> Path:
    """Where a damaged checkpoint is kept until the training has ended."""
    return checkpoint.with_name(f"{checkpoint.name}.damaged")


def weights_hash(net: nn.Module | dict[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and bytes of all parameters and buffers, sorted by name."""
    state = net.state_dict() if isinstance(net, nn.Module) else net
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def untrained_network(info: dict, seed: int) -> nn.Module:
    """The network of `info` with its initial weights. The caller's random state does not change."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return _create(info)


def _create(info: dict) -> nn.Module:
    return create(
        info["network"], num_classes=info["num_classes"], in_chans=info["in_chans"], activation=info["activation"]
    )
