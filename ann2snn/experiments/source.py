"""A trained source ANN with everything that its conversions share."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import fx

from ann2snn.calibration.statistics import Statistics
from ann2snn.data.split import ImageDataset
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.metrics.operations import costs
from ann2snn.records.packing import pack
from ann2snn.records.schema import ANNResults
from ann2snn.simulation.simulate import batch_for
from ann2snn.training import checkpoints

BATCH = 500  # images in a forward pass of the ANN


class SourceANN:
    """A trained network and its data. Everything that is derived from them is computed on first use.

    The data are normalised as in the training. Imported weights have no validation split, since they were trained on
    all official training images.

    Args:
        data: The `ImageDataset` that the network was trained on.
        weights: A file that `checkpoints.save_source` wrote.
        device: "cpu" or "cuda".

    Raises:
        UserError: The weights are of other data, or the file is damaged.
    """

    def __init__(self, data: ImageDataset, weights: Path | str, device: str = "cpu"):
        self.path = Path(weights)
        self.device = device
        self.net, self.info = checkpoints.load_source(weights)
        if (self.info["dataset"], self.info["data_hash"] or data.hash) != (data.name, data.hash):
            raise UserError(f"{weights} was trained on other data than this {data.name}: train it again.")
        if self.info["num_classes"] != data.classes:
            raise UserError(
                f"{weights} has {self.info['num_classes']} classes and {data.name} has {data.classes}: name the dataset"
                " of the weights."
            )
        data = data.normalised(self.info.get("normalization"))
        is_imported = self.info["seed"] is None
        self.data = replace(data, validation=data.validation.subset([])) if is_imported else data
        self._statistics: dict[tuple[int, int, str], tuple[Statistics, str]] = {}

    @cached_property
    def ann(self) -> fx.GraphModule:
        """The prepared network."""
        images, _ = next(self.data.train.batches(1))
        return prepare(self.net, images).to(self.device)

    @cached_property
    def costs(self):
        """Multiply-accumulates, neurons and fan-out of the prepared network."""
        return costs(self.ann, self.data.shape)

    @cached_property
    def batch(self) -> int:
        """Number of images that are simulated at once."""
        return batch_for(sum(self.costs.neurons.values()), self.device)

    @cached_property
    def results(self) -> ANNResults:
        """Accuracy of the ANN on both splits, with its predictions on test."""
        return {"test": self.result("test"), "validation": self.result("validation")}  # type: ignore[typeddict-item]

    def result(self, split: str) -> dict:
        """Accuracy of the ANN on a split, "test" or "validation"."""
        part, net = getattr(self.data, split), self.net.to(self.device)
        with torch.inference_mode():
            batches = [net(x.to(self.device)).argmax(1).cpu() for x, _ in part.batches(BATCH)] if len(part) else []
            predictions = torch.cat([torch.tensor([], dtype=torch.int64), *batches])
        counts = {"n": len(part), "correct": int((predictions == part.labels).sum())}
        return counts | ({"predictions": pack(predictions.numpy())} if split == "test" else {})

    def statistics(self, n: int, seed: int, transform: str = "none") -> tuple[Statistics, str]:
        """Activation statistics on calibration images.

        Args:
            n: Number of images.
            seed: Seed of their choice, and of `transform`.
            transform: Name of an augmentation, or "none".

        Returns:
            The statistics, and the hash of the indices of the images.
        """
        key = n, seed, transform
        if key not in self._statistics:
            images = self.data.calibration(n, seed)
            augmented = images if transform == "none" else images.augmented(transform)

            def batches():
                with torch.random.fork_rng([]):
                    torch.manual_seed(seed)
                    yield from (x for x, _ in augmented.batches(BATCH))

            self._statistics[key] = Statistics(self.ann, batches), images.indices_hash
        return self._statistics[key]
