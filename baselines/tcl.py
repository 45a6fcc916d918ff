"""Sources trained with a trainable clip."""

from ann2snn.baselines.qcfs import qcfs  # type: ignore
from ann2snn.methods import method, soft


@method(paper="ho2021tcl", source_activation="tcl", required_activation="tcl")
def tcl(ann, stats, *, reset=soft):
    """V_th = the trained threshold.

    V_th is y_th (the paper's lambda), the trained threshold of the source's clip.

    N.-D. Ho, I.-J. Chang, "TCL: an ANN-to-SNN Conversion with Trainable Clipping Layers", DAC 2021. Training balances
    the clipping error against the quantisation error; `max_norm` clips nothing, and `robust_norm` a fixed share. The
    paper scales weights by lambda_{l-1} / lambda_l and uses V_th = 1, which is equivalent to unscaled weights with
    V_th = lambda.

    Differences from the paper: Its loss has an L2 term for lambda; here y_th has weight decay only if the recipe has it
    for all parameters (`decay_all`). y_th starts at 4, as in the codes of QCFS and SlipReLU; the start of the paper was
    not found. Membranes start at 0; the paper's start is not known either. Nothing is calibrated. Read: the abstract,
    and those two codes; not the text.
    """
    return qcfs(ann, stats, reset=reset, start=0.0)
