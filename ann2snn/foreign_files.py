"""What to say of files that are not what a command needs: only of files of the suite's own that they may be removed."""

import pickle
from pathlib import Path

from ann2snn.errors import UserError


def record_fix(path: Path) -> str:
    """What to do about a file that is no valid record."""
    if path.suffix == ".json" and "records" in path.absolute().parts:
        return "remove the file and run its job again"
    return "name a record, a JSON file that a sweep wrote below records/"


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
