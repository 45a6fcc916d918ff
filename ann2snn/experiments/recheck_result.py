"""The comparison of a record with its recomputation."""

from dataclasses import dataclass

from ann2snn.experiments import rounding


@dataclass(frozen=True)
class CheckedStep:
    """Comparison of the results after T time steps."""

    T: int
    differ: int  # test images whose recomputed class differs from the recorded one
    flips: tuple[
        int, ...
    ]  # in each run with perturbed rounding: test images whose class differs from the recomputed one
    accuracy: float  # recomputed, in %
    recorded: float  # recorded accuracy, in %
    others: tuple[str, ...]  # other results that differ; compared in the same environment only

    def agrees(self, same_environment: bool) -> bool:
        """Whether the results agree as closely as they have to in this environment."""
        return not (self.differ or self.others) if same_environment else self.differ <= self.allowed

    @property
    def allowed(self) -> int:
        """Number of images that may differ in another environment."""
        return rounding.allowed_differences(self.flips)


@dataclass(frozen=True)
class RecheckResult:
    """A record, compared with its recomputation."""

    lines: list[CheckedStep]
    environment: tuple[str, ...]  # differences from the environment of the record
    method_remark: str | None  # set if the code of the method is not known to be that of the record
    left_out: int  # test images that differ from those of the record

    @property
    def same(self) -> bool:
        """Whether the environment is that of the record. If so, all results must be equal."""
        return not self.environment

    @property
    def agrees(self) -> bool:
        """Whether the record agrees at every T."""
        return all(line.agrees(self.same) for line in self.lines)

    @property
    def rule(self) -> str:
        """A sentence that says what was compared, and how closely it has to agree."""
        text = "the same environment: nothing may differ"
        if not self.same:
            bound = "as many images may differ as rounding flips, see docs/recheck.md"
            text = f"another environment, {' and '.join(self.environment)}: {bound}"
        if self.left_out:
            text += f"; {self.left_out} test images are not those of the record and are left out, and spikes and"
            text += " operations, which are of all images, are not compared"
        if self.method_remark:
            text += f"; {self.method_remark}"
        return text
