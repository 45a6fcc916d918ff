"""The part of training that Lightning runs. It takes seconds to import, so import it inside functions only."""

import io
import logging
import signal
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ann2snn import interrupts
from ann2snn.devices import hardware_description
from ann2snn.errors import UserError
from ann2snn.files import seal, write_atomic
from ann2snn.progress import ProgressBar
from ann2snn.training.initialization import epoch_seed, unit_bearing
from ann2snn.training.recipes import Recipe

EXPECTED_WARNINGS = (  # of Lightning; images lie in memory, the device is the user's choice, and torch has moved on
    r".*does not have many workers",
    r"GPU available but not used",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def fit(
    net: nn.Module, data, recipe: Recipe, seed: int, path: Path, *, device: str, logger, progress: bool, label: str
) -> dict:
    """Trains `net` in place, from the checkpoint `path` where that exists. Returns what a source tells of it: the
    seconds that its epochs took (`training_seconds`), and on which machines, in their order (`trained_on`)."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    loader = train_loader(data.train.augmented(recipe.augmentation).to(device), recipe.batch_size, seed)
    validation = DataLoader(data.validation.to(device), 512, collate_fn=_as_it_is, generator=torch.Generator())
    keeper, interrupt = EpochCheckpoint(path, hardware_description(device)), signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator=device,
            devices=1,
            precision=recipe.precision,
            gradient_clip_val=recipe.gradient_clip or None,
            logger=logger or False,
            log_every_n_steps=1,
            callbacks=[keeper, *([Progress(label)] if progress else [])],
            plugins=[AtomicIO()],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            source = Source(net, recipe, seed, len(loader), label)
            with interrupts.raise_on_interrupt():
                trainer.fit(source, loader, validation, ckpt_path=path if path.exists() else None, weights_only=True)
        except SystemExit:  # how Lightning ends on Ctrl-C, with the signal switched off
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from None
    net.cpu().to(memory_format=torch.contiguous_format)
    return {"training_seconds": keeper.seconds, "trained_on": keeper.machines}


class Source(LightningModule):
    """Cross-entropy on the network that it receives."""

    def __init__(self, net: nn.Module, recipe: Recipe, seed: int, steps_per_epoch: int, label: str):
        super().__init__()
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.net, self.layout = net.to(memory_format=layout), layout
        self.recipe, self.seed, self.steps_per_epoch, self.label = recipe, seed, steps_per_epoch, label

    def configure_optimizers(self):
        recipe, momentum = self.recipe, self.recipe.momentum
        nesterov = recipe.nesterov and momentum > 0
        optimizer = torch.optim.SGD(groups(self.net, recipe), recipe.lr, momentum, nesterov=nesterov)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.rate(step, self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_train_epoch_start(self):
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))  # dropout and augmentation, also when resumed
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, labels = batch
        return images.contiguous(memory_format=self.layout), labels

    def training_step(self, batch, index) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        metrics = {"train/loss": loss.detach(), "train/accuracy": _accuracy(logits, labels)}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        self.log("validation/accuracy", _accuracy(self.net(images), labels), batch_size=len(labels))

    def on_train_epoch_end(self):
        values = [self.trainer.callback_metrics["train/loss"], *self.net.state_dict().values()]
        if not all(value.isfinite().all() for value in values):
            diverged = f"The training of {self.label} diverged in epoch {self.current_epoch + 1}"
            raise UserError(f"{diverged}; give its recipe a lower lr than {self.recipe.lr:g}.")


def groups(net: nn.Module, recipe: Recipe) -> list[dict]:
    """The parameters with their learning rates and weight decays.

    With a `gamma` the network moves exactly as one without it and with thresholds y_th / gamma does: what bears the
    unit of activations is gamma times, and the weight of the last layer is 1 / gamma times that one's.
    """
    found: dict[tuple[float, float], list] = {}
    gamma, (direct, inverse) = (recipe.gamma, unit_bearing(net)) if recipe.gamma else (1.0, ([], []))
    for p in net.parameters():
        scale = gamma if any(p is q for q in direct) else 1 / gamma if any(p is q for q in inverse) else 1.0
        decay = recipe.weight_decay if p.ndim > 1 or recipe.decay_all else 0.0
        found.setdefault((recipe.lr * scale**2, decay / scale**2), []).append(p)
    return [{"params": these, "lr": lr, "weight_decay": decay} for (lr, decay), these in found.items()]


class EpochOrder(Sampler[int]):
    """All indices in a random order that depends on seed and epoch only; Lightning calls `set_epoch`."""

    def __init__(self, n: int, seed: int):
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self):
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.n, generator=generator).tolist())


def train_loader(split, batch_size: int, seed: int) -> DataLoader:
    """Shuffled whole batches, each gathered in one go; one smaller batch where the split is smaller than that."""
    batches = BatchSampler(EpochOrder(len(split), seed), batch_size, drop_last=len(split) >= batch_size)
    return DataLoader(split, batch_sampler=batches, collate_fn=_as_it_is, generator=torch.Generator())


class EpochCheckpoint(Checkpoint):
    """Saves after every epoch, and keeps the seconds of all finished epochs and where they ran."""

    def __init__(self, path: Path, here: str):
        self.path, self.here, self.machines, self.seconds, self.started = path, here, [], 0.0, 0.0

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        self.seconds += time.perf_counter() - self.started
        if self.machines[-1:] != [self.here]:
            self.machines.append(self.here)
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "machines": self.machines}

    def load_state_dict(self, state: dict):
        self.seconds, self.machines = state["seconds"], state.get("machines", ["unknown"])


class AtomicIO(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        file = io.BytesIO()
        torch.save(checkpoint, file)
        write_atomic(path, seal(file.getvalue()))


class Progress(Callback):
    """Shows the steps, and the validation accuracy of the last finished epoch."""

    def __init__(self, label: str):
        self.label, self.note = label, ""

    def on_train_start(self, trainer, module):
        total = trainer.max_epochs * trainer.num_training_batches
        self.bar = ProgressBar(self.label, total, done=trainer.global_step)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.bar.update(1, self.note)

    def on_train_epoch_end(self, trainer, module):
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.note = f"{epoch}: validation {100 * trainer.callback_metrics['validation/accuracy']:.1f} %"

    def teardown(self, trainer, module, stage):  # also after an error
        if hasattr(self, "bar"):
            self.bar.close()


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float().mean()


def _as_it_is(batch):
    return batch
