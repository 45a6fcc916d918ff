"""Sources trained with a mixture of clip and staircase."""

from ann2snn.baselines.qcfs import qcfs  # type: ignore
from ann2snn.methods import method, soft


@method(paper="jiang2023slip", source_activation="slip_relu", required_activation="slip_relu")
def slip_relu(ann, stats, *, reset=soft, start=0.5):
    """V_th = trained y_th.

    V_th is the trained threshold y_th, and every membrane starts at V_th / 2, as in `qcfs`.

    H. Jiang et al., "A Unified Optimization Framework of ANN-SNN Conversion: Towards Optimal Mapping from Activation
    Values to Firing Rates", ICML 2023. The source has the activation a clip(z, 0, y_th) + (1 - a) QCFS(z): a = 0 is
    QCFS, a = 1 the clip. `start` is the share of V_th that the membrane starts with (the paper's shift2).

    Differences from the paper and its code: The shifts of the two parts are the defaults of the code, 0 for the clip
    and 1/2 for the staircase. a is never trained; in the code that is an option. The staircase is clipped before it is
    floored, which changes its gradient in the first half step below 0 and in the last one. Trained thresholds have
    weight decay in the code, and here only if the recipe has it for all parameters (`decay_all`). Nothing is
    calibrated. Read: the code and the abstract.
    """
    return qcfs(ann, stats, reset=reset, start=start)
