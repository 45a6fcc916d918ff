"""A trained network with what all its methods share."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from ann2snn.calibration.statistics import Statistics
from ann2snn.data.split import ImageDataset
from ann2snn.errors import UserError
from ann2snn.graph.prepare import prepare
from ann2snn.metrics.operations import costs
from ann2snn.records.packing import pack
from ann2snn.simulation.simulate import batch_for
from ann2snn.training import checkpoints

BATCH = 500  # images in a forward pass of the ANN


class Source:
    """A trained network with what all its methods share; every part is made when it is first asked for.

    `data` are normalised as the network was trained: imported weights say how. For these there is no validation.
    """

    def __init__(self, data: ImageDataset, weights: Path | str, device: str = "cpu"):
        self.path, self.device = Path(weights), device
        self.net, self.info = checkpoints.load_source(weights)
        if (self.info["dataset"], self.info["data_hash"] or data.hash) != (data.name, data.hash):
            raise UserError(f"{weights} was trained on other data than this {data.name}: train it again.")
        if self.info["num_classes"] != data.classes:
            raise UserError(f"{weights} has {self.info['num_classes']} classes, this {data.name} {data.classes}.")
        data = data.normalised(self.info.get("normalization"))
        seen = self.info["seed"] is None  # imported weights have seen all official training images
        self.data = replace(data, validation=data.validation.subset([])) if seen else data
        self._statistics: dict[tuple[int, int, str], tuple[Statistics, str]] = {}

    @cached_property
    def ann(self):
        images, _ = next(self.data.train.batches(1))
        return prepare(self.net, images).to(self.device)

    @cached_property
    def costs(self):
        return costs(self.ann, self.data.shape)

    @cached_property
    def batch(self) -> int:
        """Images that are simulated at once."""
        return batch_for(sum(self.costs.neurons.values()), self.device)

    @cached_property
    def results(self) -> dict:
        """What the ANN itself gets right, on both splits, with its predictions on test."""
        return {"test": self.result("test"), "validation": self.result("validation")}

    def result(self, split: str) -> dict:
        part, net = getattr(self.data, split), self.net.to(self.device)
        with torch.inference_mode():
            found = [net(x.to(self.device)).argmax(1).cpu() for x, _ in part.batches(BATCH)] if len(part) else []
            found = torch.cat([torch.tensor([], dtype=torch.int64), *found])
        out = {"n": len(part), "correct": int((found == part.labels).sum())}
        return out | ({"predictions": pack(found.numpy())} if split == "test" else {})

    def statistics(self, n: int, seed: int, transform: str = "none") -> tuple[Statistics, str]:
        """Of n calibration images drawn with this seed, and the hash of which ones.

        `transform` is an augmentation, drawn with the same seed, or none.
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
