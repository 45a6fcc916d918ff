"""Source networks trained with the threshold that a neuron has."""

from ann2snn.baselines.qcfs import qcfs  # type: ignore
from ann2snn.methods import method, soft


@method(paper="ho2021tcl", source_activation="tcl", required_activation="tcl")
def tcl(ann, stats, *, reset=soft):
    """V_th = the trained threshold y_th (their lambda) of the clip that the source has; nothing else.

    N.-D. Ho, I.-J. Chang, "TCL: an ANN-to-SNN Conversion with Trainable Clipping Layers", DAC 2021. Training weighs
    what is clipped against what is lost between two steps, where `max_norm` clips nothing and `robust_norm` a
    fixed share. Scaling weights by lambda_{l-1} / lambda_l with V_th = 1, as there, is keeping them with V_th = lambda.

    Differences from the paper: its loss has an L2 term for lambda; here the weight decay of the training reaches y_th
    only where the recipe has it for everything (`decay_all`). y_th starts at 4, as in the codes of QCFS and SlipReLU;
    what the paper starts from was not found, nor what its membranes start from: here 0. Nothing is calibrated. Read:
    the abstract, and those two codes; not the text.
    """
    return qcfs(ann, stats, reset=reset, start=0.0)
