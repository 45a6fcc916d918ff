"""Import and start of W&B, and its settings."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETTINGS = {
    "silent": True,
    "console": "off",
    "init_timeout": 20,  # seconds until an unreachable server counts as such
    "finish_timeout": 20,  # seconds; files that are not uploaded by then stay on this disk
    "disable_code": True,
    "disable_git": True,  # a record has its own commit, device and versions
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,  # seconds of history that a kill -9 loses; 15 by default
}
OFFLINE = {"init_timeout": 300, "finish_timeout": 300}  # without a server, only a slow machine needs time
_unreachable = False  # whether an online start failed; the time-out is then not waited for again in this process


@dataclass(frozen=True)
class RunInfo:
    """Arguments of `wandb.init` that describe a run."""

    id: str
    name: str
    group: str
    job_type: str
    config: dict
    tags: list[str]


def one_line(error: Exception) -> str:
    """Type and message of an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def import_wandb(mode: str):
    """The package `wandb`; None if the mode is "off" or it cannot be imported."""
    if mode == "off":
        return None
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except Exception as error:  # a broken installation can raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == "wandb"
        reason = "is not installed" if absent else f"cannot be imported ({one_line(error)})"
        notice(f"wandb {reason}; nothing is logged there")
        return None
    return wandb


def start_run(wandb, directory, mode, info: RunInfo):
    """Starts a run; offline if it cannot be started online within the time-out."""
    global _unreachable
    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # of tables to be synced; by default in the home directory
        os.environ.setdefault(variable, str(directory / "wandb"))
    start = functools.partial(
        wandb.init,
        project=project(),
        dir=str(directory),
        id=info.id,
        resume="allow",
        reinit="create_new",
        name=info.name,
        group=info.group,
        job_type=info.job_type,
        config=info.config,
        tags=info.tags,
    )

    def settings(values):
        return wandb.Settings(**{k: v for k, v in values.items() if k in wandb.Settings.model_fields})

    if mode == "online" and not _unreachable:
        try:
            return start(mode="online", settings=settings(SETTINGS))
        except Exception as error:
            _unreachable = True
            wandb.teardown()  # its service still uses the id of the failed run
            notice(f"the server cannot be used ({one_line(error)}); logging offline")
    return start(mode="offline", settings=settings(SETTINGS | OFFLINE))


def lightning_logger(run):
    """A Lightning logger for a run, whose errors are reported and ignored."""
    from pytorch_lightning.loggers import WandbLogger

    class Logger(WandbLogger):
        """Reports errors of W&B instead of raising them, and finishes the run at the end of the training."""

        def log_metrics(self, metrics, step=None):
            with notice_errors("training curves"):
                super().log_metrics(metrics, step)

        def log_hyperparams(self, params):
            with notice_errors("training curves"):
                super().log_hyperparams(params)

        def finalize(self, status):
            with notice_errors("training curves"):
                run.finish(exit_code=int(status != "success"))

    return Logger(experiment=run, name=run.name, id=run.id)


@functools.cache
def notice(text: str) -> None:
    """Prints a line to stderr, unless it was printed before."""
    print(f"W&B: {text}", file=sys.stderr)


@contextlib.contextmanager
def notice_errors(what: str) -> Iterator[None]:
    """Turns any error inside the context into a notice."""
    try:
        yield
    except Exception as error:
        notice(f"no {what} ({one_line(error)}); the command continues")


def project() -> str:
    """Name of the W&B project: $WANDB_PROJECT, else "ann2snn"."""
    return os.environ.get("WANDB_PROJECT", "ann2snn")


def key_configured() -> bool:
    """Whether an API key for W&B is configured."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if not (wandb := import_wandb("offline")):
        return False
    with contextlib.suppress(Exception):
        from wandb.sdk.lib.wbauth import read_netrc_auth

        settings = wandb.setup().settings
        return bool(settings.api_key or read_netrc_auth(host=settings.base_url))
    return False
