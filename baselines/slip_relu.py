"""Source networks between the clip and the stairs."""

from ann2snn.baselines.qcfs import qcfs  # type: ignore
from ann2snn.methods import method, soft


@method(paper="jiang2023slip", source_activation="slip_relu", required_activation="slip_relu")
def slip_relu(ann, stats, *, reset=soft, start=0.5):
    """V_th = the trained threshold y_th, and every membrane starts at V_th / 2, as `qcfs`; the source is another one.

    H. Jiang et al., "A Unified Optimization Framework of ANN-SNN Conversion: Towards Optimal Mapping from Activation
    Values to Firing Rates", ICML 2023. The source has a clip(z, 0, y_th) + (1 - a) QCFS(z): a = 0 is QCFS, a = 1 the
    clip. `start` is the share of V_th that the membrane starts with (their shift2).

    Differences from the paper and its code: the shifts of the two parts are the defaults of the code, 0 of the clip and
    1/2 of the stairs; a is never trained (an option there); the stairs are clipped before they are floored, which
    changes their gradient in the first half step below 0 and in the last one; trained thresholds have weight decay in
    the code, here only where the recipe has it for everything (`decay_all`). Nothing is calibrated. Read: the code and
    the abstract.
    """
    return qcfs(ann, stats, reset=reset, start=start)
