"""Methods, source activations and time steps that the profiles run and the pages show."""

from ann2snn.data.catalog import DATASETS

TIME_STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
THRESHOLD_RELU = {name: f"threshold_relu:{DATASETS[name].y_th}" for name in ("cifar10", "cifar100", "imagenet")}
ACTIVATIONS = ("threshold_relu:1", "relu")
TRAINED_ACTIVATIONS = ("qcfs:4", "qcfs:8", "tcl", "slip_relu:8:0.5")  # sources that some methods need
DENG_NETWORKS = ("deng_cifarnet", "deng_vgg16", "deng_resnet20")

# A variant is a method with its options: (name, options).
OPTIMAL = ("optimal", {"reset": "soft"})
CLASSIC_METHODS = ("optimal", "max_norm", "robust_norm", "opi")  # the paper's method and its classic rivals
CLASSIC_VARIANTS = tuple((name, {"reset": reset}) for name in CLASSIC_METHODS for reset in ("soft", "hard"))
VARIANTS = (  # every method, with soft reset: results/METHODS.md
    *((name, {"reset": "soft"}) for name in CLASSIC_METHODS),
    ("channel_norm", {"quantile": 1.0, "start": 0.0}),
    ("channel_norm", {"quantile": 1.0, "start": 0.5}),
    ("channel_norm", {"quantile": 0.999, "start": 0.5}),
    ("mmse", {"error": "round"}),
    ("mmse", {"error": "floor"}),
    *((name, {}) for name in ("spike_norm", "rmp", "snnc_lp", "snnc_ap", "ftbc", "ltb", "closed_loop")),
    *((name, {}) for name in ("srp", "cos")),
    ("accumulate_then_fire", {"per_channel": False}),
    *((name, {}) for name in ("accumulate_then_fire", "da_qcfs", "tpp", "permute", "qcfs", "tcl", "slip_relu")),
)

# QCFS sources whose quantiser floors, rounds or ceils, and the start potentials that they are converted with.
QUANTISERS = tuple(f"{TRAINED_ACTIVATIONS[0]}{rounding}" for rounding in (":floor", "", ":ceil"))
START_POTENTIALS = tuple(("qcfs", {"reset": "soft", "start": start}) for start in (0.0, 0.5, 1.0))
