"""The training loop, run by Lightning. Imported inside functions only, since Lightning takes seconds to import."""

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
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ann2snn import interrupts
from ann2snn.devices import hardware_description
from ann2snn.errors import UserError
from ann2snn.files import seal, write_atomic
from ann2snn.progress import ProgressBar
from ann2snn.training.initialization import epoch_seed, scale_dependent_parameters
from ann2snn.training.recipes import Recipe

EXPECTED_WARNINGS = (  # images are in memory, the user chose the device, and Lightning uses a deprecated torch API
    r".*does not have many workers",
    r"GPU available but not used",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def fit(
    net: nn.Module, data, recipe: Recipe, seed: int, path: Path, *, device: str, logger, progress: bool, label: str
) -> dict:
    """Trains a network in place.

    Args:
        net: The network with its initial weights.
        data: The `ImageDataset` to train and validate on.
        recipe: Hyper-parameters.
        seed: Training seed.
        path: The checkpoint: read if it exists, and written after every epoch.
        device: "cpu" or "cuda".
        logger: A Lightning logger, or None.
        progress: Whether to show progress on stderr.
        label: Name of the training in messages.

    Returns:
        `training_seconds`: seconds of all epochs together. `trained_on`: machines that ran them, in order.
    """
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    loader = train_loader(data.train.augmented(recipe.augmentation).to(device), recipe.batch_size, seed)
    validation = DataLoader(data.validation.to(device), 512, collate_fn=_identity, generator=torch.Generator())
    keeper = EpochCheckpoint(path, hardware_description(device))
    interrupt_handler = signal.getsignal(signal.SIGINT)
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
            callbacks=[keeper, *([ProgressCallback(label)] if progress else [])],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            source = SourceClassifier(net, recipe, seed, len(loader), label)
            with interrupts.raise_on_interrupt():
                trainer.fit(source, loader, validation, ckpt_path=path if path.exists() else None, weights_only=True)
        except SystemExit:  # Lightning's reaction to Ctrl-C; it also disables the signal
            signal.signal(signal.SIGINT, interrupt_handler)
            raise KeyboardInterrupt from None
    net.cpu().to(memory_format=torch.contiguous_format)
    return {"training_seconds": keeper.seconds, "trained_on": keeper.machines}


class SourceClassifier(LightningModule):
    """Trains a source network by SGD on the cross-entropy, as its recipe says."""

    def __init__(self, net: nn.Module, recipe: Recipe, seed: int, steps_per_epoch: int, label: str):
        super().__init__()
        self.memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self.memory_format)
        self.recipe = recipe
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch
        self.label = label

    def configure_optimizers(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        recipe = self.recipe
        nesterov = recipe.nesterov and recipe.momentum > 0
        optimizer = torch.optim.SGD(parameter_groups(self.net, recipe), recipe.lr, recipe.momentum, nesterov=nesterov)
        scheduler = LambdaLR(optimizer, lambda step: recipe.lr_factor(step, self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self):
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))  # dropout and augmentation, resumed or not
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, labels = batch
        return images.contiguous(memory_format=self.memory_format), labels

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
            raise UserError(
                f"The training of {self.label} diverged in epoch {self.current_epoch + 1}; give its recipe a lower lr"
                f" than {self.recipe.lr:g}."
            )


def parameter_groups(net: nn.Module, recipe: Recipe) -> list[dict]:
    """Groups the parameters of a network by learning rate and weight decay, for a PyTorch optimizer.

    With `recipe.gamma`, a parameter that is s times as large as in the network without rescaled activations (s = gamma
    or 1 / gamma, see `scale_dependent_parameters`) gets lr * s^2 and weight decay / s^2. SGD then moves both networks
    alike.
    """
    scales: dict[int, float] = {}
    if recipe.gamma:
        direct, inverse = scale_dependent_parameters(net)
        scales = {id(p): 1 / recipe.gamma for p in inverse} | {id(p): recipe.gamma for p in direct}
    by_hyperparameters: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in net.parameters():
        scale = scales.get(id(p), 1.0)
        decay = recipe.weight_decay if p.ndim > 1 or recipe.decay_all else 0.0
        by_hyperparameters.setdefault((recipe.lr * scale**2, decay / scale**2), []).append(p)
    return [{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in by_hyperparameters.items()]


class EpochOrder(Sampler[int]):
    """Shuffles indices by seed and epoch only. Lightning calls `set_epoch`."""

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
    """A loader of shuffled batches. The last, incomplete batch is dropped, unless it is the only one."""
    batches = BatchSampler(EpochOrder(len(split), seed), batch_size, drop_last=len(split) >= batch_size)
    return DataLoader(split, batch_sampler=batches, collate_fn=_identity, generator=torch.Generator())


class EpochCheckpoint(Checkpoint):
    """Saves a checkpoint after every epoch, with the seconds of all epochs and the machines that ran them."""

    def __init__(self, path: Path, machine: str):
        self.path = path
        self.machine = machine
        self.machines: list[str] = []
        self.seconds = 0.0
        self.started = 0.0

    def on_train_epoch_start(self, trainer, pl_module):
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        self.seconds += time.perf_counter() - self.started
        if self.machines[-1:] != [self.machine]:
            self.machines.append(self.machine)
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "machines": self.machines}

    def load_state_dict(self, state_dict: dict):
        self.seconds, self.machines = state_dict["seconds"], state_dict.get("machines", ["unknown"])


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        file = io.BytesIO()
        torch.save(checkpoint, file)
        write_atomic(path, seal(file.getvalue()))


class ProgressCallback(Callback):
    """Shows the steps, and the validation accuracy of the last complete epoch."""

    def __init__(self, label: str):
        self.label, self.note = label, ""

    def on_train_start(self, trainer, pl_module):
        assert trainer.max_epochs is not None
        total = trainer.max_epochs * int(trainer.num_training_batches)
        self.bar = ProgressBar(self.label, total, done=trainer.global_step)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.bar.update(1, self.note)

    def on_train_epoch_end(self, trainer, pl_module):
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.note = f"{epoch}: validation {100 * trainer.callback_metrics['validation/accuracy']:.1f} %"

    def teardown(self, trainer, pl_module, stage):  # also after an error
        if hasattr(self, "bar"):
            self.bar.close()


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float().mean()


def _identity(batch):
    return batch
