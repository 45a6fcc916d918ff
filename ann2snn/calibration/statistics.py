"""Activation statistics on the calibration images, computed on first use and cached."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, fx

from ann2snn.calibration.histogram import LogHistogram
from ann2snn.calibration.hooks import capture_activations
from ann2snn.calibration.images import check_images, full_precision
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.progress import track


class Statistics:
    """Activation statistics of a prepared network.

    `stats[name]` holds those of the activation `name`, and `stats["output"]` those of the raw output. The first access
    makes one pass over the images for maxima and means. The first quantile makes a second pass. Both are independent of
    the order of the images and of the batch size, up to the rounding of the forward pass.

    Args:
        ann: The result of `prepare`.
        batches: Returns the calibration images as an iterable of tensors (B, C, H, W), the same ones at every call.
        max_kept: The most images that `images()` returns.
    """

    def __init__(self, ann: fx.GraphModule, batches: Callable[[], Iterable[Tensor]], max_kept: float = math.inf):
        self.ann, self.batches, self.max_kept = ann, batches, max_kept
        self.count = 0  # number of images, after the first pass
        self.seconds: dict[str, float] = {}  # duration of each pass
        self.used: set[str] = set()  # passes whose results were requested
        self._layers: dict[str, LayerStatistics] = {}

    def __getitem__(self, name: str) -> "LayerStatistics":
        if not self._layers:
            layers = {n: LayerStatistics(n, self._fill_histograms) for n in [*activations(self.ann), "output"]}
            began = time.perf_counter()
            self.count = self._pass(layers, LayerStatistics.update)
            if not self.count:
                raise UserError("There are no calibration images: give at least one.")
            self._layers, self.seconds["maxima"] = layers, time.perf_counter() - began
        self.used.add("maxima")
        return self._layers[name]

    def images(self) -> Tensor:
        """(N, C, H, W): the calibration images, at most the first `max_kept` of them."""
        kept, room = [], self.max_kept
        for batch in filter(len, self.batches()):
            if len(batch) > room:
                print(
                    f"ann2snn: this method keeps its images in memory and takes the first {self.max_kept:,} of the data"
                    " loader; pass a tensor of images to use more.",
                    file=sys.stderr,
                )
            kept.append(check_images(self.ann, batch if len(batch) <= room else batch[: int(room)]))
            room -= len(kept[-1])
            if len(batch) > len(kept[-1]):
                break
        if not kept:
            raise UserError("There are no calibration images: give at least one.")
        return torch.cat(kept)

    def _fill_histograms(self) -> None:
        """Makes the pass for the histograms, unless it was made before."""
        if "histograms" not in self.seconds:
            began = time.perf_counter()
            self._pass(self._layers, LayerStatistics.update_histogram)
            self.seconds["histograms"] = time.perf_counter() - began
        self.used.add("histograms")

    def _pass(self, layers: dict[str, "LayerStatistics"], visit: Callable[["LayerStatistics", Tensor], None]) -> int:
        """Calls `visit(layer, values)` with the activations of every batch; returns the number of images."""
        parameter, images = next(self.ann.parameters()), 0
        hooks = capture_activations(self.ann, lambda module, _, out: visit(layers[module.name], out))
        with hooks, torch.inference_mode(), full_precision(self.ann):
            for batch in track(filter(len, self.batches()), "activation statistics"):
                visit(layers["output"], self.ann(check_images(self.ann, batch).to(parameter)))
                images += len(batch)
        return images


class LayerStatistics:
    """Exact maxima and means of one activation (or of the output), and quantiles from a logarithmic histogram.

    The activation of one image has the shape (C, H, W) or (F,); channels are its first dimension. The maxima and means
    are complete after one pass of `update` over the images. Quantiles need a second pass, of `update_histogram`.

    Args:
        name: Name of the activation.
        fill_histogram: Called before the histogram is read; calls `update_histogram` with all batches on first use.
    """

    def __init__(self, name: str, fill_histogram: Callable[[], None]):
        self.name, self._fill_histogram = name, fill_histogram
        self.unit_max = torch.tensor(-torch.inf)  # (C, H, W) after the first update: the exact maximum of every unit
        self._sum = torch.tensor(0.0)  # (C, H, W) in double precision
        self._images = 0
        self._histogram: LogHistogram | None = None

    def update(self, values: Tensor) -> None:
        """Adds a batch (B, C, ...) to the maxima and means.

        Raises:
            UserError: A value is not finite.
        """
        batch_max = values.amax(0)
        if not torch.isfinite(batch_max).all():
            raise UserError(
                f"{self.name} has values that are not finite on the calibration images: check images and weights."
            )
        self.unit_max = torch.maximum(self.unit_max.to(batch_max), batch_max)
        batch_sum = values.sum(0, dtype=torch.double)
        self._sum = self._sum.to(batch_sum) + batch_sum
        self._images += len(values)

    @property
    def max(self) -> Tensor:
        """Scalar: the largest value."""
        return self.unit_max.amax()

    @property
    def channel_max(self) -> Tensor:
        """(C, 1, 1) or (F,): the largest value of every channel; broadcasts over the activation of an image."""
        return self.unit_max.reshape(len(self.unit_max), -1).amax(1).reshape(-1, *[1] * (self.unit_max.dim() - 1))

    @property
    def unit_mean(self) -> Tensor:
        """(C, H, W) or (F,): the mean of every unit over the images."""
        return (self._sum / self._images).to(self.unit_max)

    @property
    def channel_mean(self) -> Tensor:
        """(C, 1, 1) or (F,): the mean of every channel over images and positions."""
        mean = (self._sum / self._images).reshape(len(self._sum), -1).mean(1)
        return mean.reshape(self.channel_max.shape).to(self.unit_max)

    @property
    def dead_fraction(self) -> float:
        """The fraction of units that are active on no image."""
        return (self.unit_max <= 0).float().mean().item()

    def update_histogram(self, values: Tensor) -> None:
        """Adds a batch (B, C, ...) to the histogram; the maxima must be complete."""
        if self._histogram is None:
            self._histogram = LogHistogram.empty(self.channel_max.flatten())
        self._histogram.add(values)

    def histogram(self, *, per_channel: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Positive values in descending order, and their counts.

        Args:
            per_channel: One row per channel, instead of one row for the layer.

        Yields:
            (values, counts), both (c, bins), for consecutive groups of channels. The first value is the maximum; every
            other value is the middle of a bin of relative width 2^-10. The last bin counts all values below 2^-16 of
            the maximum.
        """
        for part in self._parts(per_channel):
            yield part.values(), part.bins

    def quantile(self, q: float, *, nonzero: bool = False, per_channel: bool = False) -> Tensor:
        """The nearest-rank quantile: the value of rank ceil(q n) among n.

        It is rounded up by less than a relative 2^-10 and never exceeds the maximum, so that q = 1 gives the exact
        maximum. A channel without (non-zero) values has the quantile 0.

        Args:
            q: In (0, 1].
            nonzero: Ignore zeros.
            per_channel: The quantiles of the channels, instead of that of the layer.

        Returns:
            A scalar; with `per_channel` (C, 1, 1) or (F,).

        Raises:
            UserError: q is outside (0, 1].
        """
        if not 0 < q <= 1:
            raise UserError(f"A quantile lies in (0, 1], such as 0.999; {q} does not.")
        quantiles = torch.cat([part.quantile(q, nonzero=nonzero) for part in self._parts(per_channel)])
        return quantiles.reshape(self.channel_max.shape) if per_channel else quantiles[0]

    def _parts(self, per_channel: bool) -> Iterator[LogHistogram]:
        """The histogram, in groups of channels or merged into one channel."""
        self._fill_histogram()
        assert self._histogram is not None
        yield from self._histogram.chunks() if per_channel else [self._histogram.merge()]
