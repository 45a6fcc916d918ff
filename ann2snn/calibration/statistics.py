"""Activation statistics on the calibration images, computed on first use and cached."""

import math
import sys
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, fx

from ann2snn.calibration.histogram import LayerStatistics
from ann2snn.calibration.hooks import capture_activations
from ann2snn.calibration.images import check_images, full_precision
from ann2snn.errors import UserError
from ann2snn.graph.network import activations
from ann2snn.progress import track


class Statistics:
    """`stats[name]` for every activation of `ann`, and `stats["output"]` for the raw output of the network.

    `batches()` gives the calibration images as an iterable of tensors (B, C, H, W), the same ones at every call. The
    maxima take one pass, made when the first statistic is asked for, and the quantiles a second one, made when the
    first quantile is. Both are independent of order and batch size, up to the rounding of the forward pass.
    """

    def __init__(self, ann: fx.GraphModule, batches: Callable[[], Iterable[Tensor]], max_kept: float = math.inf):
        """`max_kept` bounds how many images `images()` keeps."""
        self.ann, self.batches, self.max_kept = ann, batches, max_kept
        self.count = 0  # of the images, once a statistic was asked for
        self.seconds: dict[str, float] = {}  # what each pass took
        self.used: set[str] = set()  # the passes whose results were asked for
        self._layers: dict[str, LayerStatistics] = {}

    def __getitem__(self, name: str) -> "LayerStatistics":
        if not self._layers:
            layers = {n: LayerStatistics(n, self._histograms) for n in [*activations(self.ann), "output"]}
            began = time.perf_counter()
            self.count = self._pass(layers, LayerStatistics.update)
            if not self.count:
                raise UserError("There are no calibration images: give at least one.")
            self._layers, self.seconds["maxima"] = layers, time.perf_counter() - began
        self.used.add("maxima")
        return self._layers[name]

    def images(self) -> Tensor:
        """(N, C, H, W): the calibration images at once, at most the first `max_kept` of them."""
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

    def _histograms(self) -> None:
        if "histograms" not in self.seconds:
            began = time.perf_counter()
            self._pass(self._layers, LayerStatistics.count)
            self.seconds["histograms"] = time.perf_counter() - began
        self.used.add("histograms")

    def _pass(self, layers: dict[str, "LayerStatistics"], visit: Callable[["LayerStatistics", Tensor], None]) -> int:
        parameter, images = next(self.ann.parameters()), 0
        capture = capture_activations(self.ann, lambda module, _, out: visit(layers[module.name], out))
        with capture, torch.inference_mode(), full_precision(self.ann):
            for batch in track(filter(len, self.batches()), "activation statistics"):
                visit(layers["output"], self.ann(check_images(self.ann, batch).to(parameter)))
                images += len(batch)
        return images
