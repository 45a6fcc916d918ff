"""A network trained on ImageNet, on photographs: how often its spiking network predicts what the ANN predicts.

`python -m ann2snn.benchmarks.photographs --weights FILE.npz --images FOLDER --root runs` measures, prints a table and
writes `runs/photographs.json`; run again, it goes on where it was. Half of the photographs calibrate, the other half
measure the agreement: the share on which both have the same first class. The photographs are not ImageNet's validation
set, so nothing here is an ImageNet accuracy or belongs on the leaderboard.

FILE.npz is TensorFlow's MobileNetV1 0.25 128 with ReLU6 and folded batch norm, known by its hash: `i.weight`, `i.bias`
of 28 layers in a chain and 1,001 outputs, of which the first is no class of ImageNet. FOLDER holds images.csv (with
columns ImageId, the name of a file without its ending, and TrueLabel, 1 to 1000) and the pictures.
"""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.exit_on_interrupt()  # before anything else is imported
