"""Files of weights: a digits source with random weights, where `train` and `sweep` find it as if it were trained."""

import io

import torch

from ann2snn.data.registry import load
from ann2snn.networks.registry import create
from ann2snn.training import checkpoints
from ann2snn.training.source_info import source_info


def put(root, network="digits_plain", activation="threshold_relu:1", seed=0):
    """Writes the weights of a network that no one trained; `train` and `sweep` find it finished."""
    digits = load("digits")
    path = checkpoints.weights_file(digits, network, activation, seed, root)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = create(network, num_classes=10, in_chans=1, activation=activation)
    checkpoints.save_source(net, source_info(digits, network, activation, seed), path)
    return path


def tensor_bytes(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()
