"""The reasons why a node cannot be converted, each with a fix, and the page in `docs/` that lists them."""

RELU = "a spiking neuron stands for a ReLU, clipped or not; train with ReLU or threshold ReLU (timm: `act_layer=`)"
DATA = "it normalises by statistics of its input, which a neuron does not have; use batch norm instead"
PRODUCT = (
    "the product of two spike trains is not the spike train of the product; use a network without gates and attention"
)
CLIP = "it clips to [{low:g}, {high:g}], and a rate lies in [0, V]; train with ReLU or threshold ReLU"
CHANNEL_CLIP = (
    "its upper bound differs within the layer; use ann2snn's ThresholdReLU, TCL or QCFS, which have one bound"
)
COMPARES = (
    "it is no part of a clip from 0 to a positive constant; use ReLU, or an activation of ann2snn: ThresholdReLU (fixed"
    " bound), TCL (trained bound) or QCFS (trained bound, quantised)"
)
NEGATIVE = (
    "its trained threshold y_th is {y_th:g} and must be positive; train it again from a larger one, without decay"
)
SQUASH = "it divides by a sum over its input; use ReLU (at the end of a network, over the classes, it is dropped)"
CASTS = "it casts to another data type, which rounds; keep values in floating point"
ROUNDS = "it rounds; use ann2snn's activation QCFS, a quantiser with a trained bound"
RECURRENT = (
    "it is recurrent: it feeds its state back through products and its own nonlinearities; use a feed-forward network"
)
STATISTICS = "it normalises by the statistics of the batch; keep running statistics (track_running_stats=True)"
WEIGHTS = "its weights are computed in the forward pass; compute them once and store them"
BATCH = "it mixes the images of a batch, or moves them to another dimension; keep the first dimension for the batch"
IN_PLACE = "it changes a tensor in place that is used again; use the out-of-place form"
DROPOUT = "it is active in evaluation mode too; use nn.Dropout, or pass training=self.training"
OUTPUTS = "the network returns several tensors, or a container; wrap it so that it returns one tensor"
SIZES = "it computes with the size of a tensor; write the number instead"
POSITIONS = "the indices of the maxima are used, which do not add up over time; use the maxima alone"
UNKNOWN = "this operation is not supported; replace it by a supported one (see docs/not-convertible.md)"

OPERATIONS = {
    RELU: "celu elu exp gelu hardsigmoid hardswish leaky_relu mish prelu selu sigmoid silu softplus tanh",
    DATA: "layer_norm group_norm instance_norm rms_norm",
    SQUASH: "softmax log_softmax",
    COMPARES: "where gt ge lt le maximum minimum threshold masked_fill abs sign clamp_max",
    CASTS: "to to_copy type_as",
    ROUNDS: "floor round ceil trunc",
    RECURRENT: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    PRODUCT: "mul matmul bmm einsum scaled_dot_product_attention",
}
OF_OPERATION = {name: reason for reason, names in OPERATIONS.items() for name in names.split()}

PAGE = """\
# My network does not convert, because ...

<!-- Generated: `ann2snn inspect --reasons > docs/not-convertible.md`. Do not edit. -->

`ann2snn inspect MODEL` lists every node of a network and how it is converted, without running anything. It exits with 1
if a node cannot be converted. In Python, `prepare` raises `NotConvertible` with the same report. No node is left
analog without notice. These are all the reasons, in the words of the report.

| node | reason | fix |
|-|-|-|
{rows}

What converts:

- convolution and transposed convolution (1-D to 3-D, any groups, padding, dilation), linear, `einsum` and `matmul` with
  a parameter or buffer, batch norm (folded, or kept as an exact affine map);
- ReLU and clips from 0 to a constant in any form, threshold ReLU;
- max-pooling, adaptive max-pooling, and `max` or `min` over dimensions (the increment of the pooled cumulative current:
  exact in the sum);
- average and adaptive average pooling (1-D to 3-D), mean, sum, interpolation (`nearest`, `linear`, `bilinear`,
  `trilinear`, `bicubic`), addition, subtraction, negation, multiplication and division by a number, a parameter or
  a buffer;
- operations that only move values: slices, `select`, `narrow`, fixed indices, `chunk`, `split`, `unbind`,
  concatenation, `stack`, `flatten`, `view`, `reshape`, `squeeze`, `unsqueeze`, `unflatten`, `permute`, `transpose`,
  `movedim`, `flip`, `roll`, `expand`, `repeat`, pixel and channel shuffle, padding;
- dropout, copies and casts; a softmax or sigmoid at the end is dropped.
"""


def page() -> str:
    """The text of docs/not-convertible.md."""
    nodes = {reason: ", ".join(f"`{name}`" for name in sorted(names.split())) for reason, names in OPERATIONS.items()}
    nodes[PRODUCT] += ", of two tensors that depend on the input"
    nodes[COMPARES] += "; `max`, `min` of two tensors"
    nodes[DATA] += "; `div` by a tensor that depends on the input"
    nodes |= {
        CLIP.format(low=-1, high=1): "`hardtanh`, `clamp` with a lower bound other than 0 (here -1)",
        CHANNEL_CLIP: "`minimum`, `clamp` and others to a tensor of several bounds",
        NEGATIVE.format(y_th=-0.1): "`tcl`, `qcfs`, `slip_relu` whose threshold is not above 0 (here -0.1)",
        STATISTICS: "`batch_norm` without running statistics",
        WEIGHTS: "`conv2d`, `linear` with weights that depend on the input (dynamic or re-parametrised)",
        BATCH: "`view`, `reshape`, `permute`, `flip`, `mean`, `cat` and others over the first dimension",
        IN_PLACE: "`add_`, `relu_` and others on a tensor with a later use",
        DROPOUT: "`dropout` that is always on",
        OUTPUTS: "`output`",
        SIZES: "`add` and others of a size, such as `x.size(0)`",
        POSITIONS: "`max`, `min`, `max_pool2d` and others with `return_indices=True`",
        UNKNOWN.partition(" (")[0]: "any other operation",
    }
    rows = (f"| {node} | {' | '.join(reason.split('; ', 1))} |" for reason, node in nodes.items())
    return PAGE.format(rows="\n".join(rows))
