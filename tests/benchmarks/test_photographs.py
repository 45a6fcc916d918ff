"""The measurement on photographs, with made-up weights and eight made-up pictures."""

import csv
import hashlib
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ann2snn.benchmarks.studies import photographs
from ann2snn.benchmarks.studies.photographs import main
from ann2snn.errors import UserError
from ann2snn.leaderboard.photographs import WEIGHTS, table
from ann2snn.records.packing import unpack
from ann2snn.simulation import simulate as simulation_simulate

STRIDES = [2] + [s for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1) for s in (stride, 1)]
WIDTHS = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]


@pytest.fixture(scope="module")
def arrays():
    """Random weights of the 28 layers in the names of the file, which keep the activations between 0 and 6 alive."""
    random, shapes = np.random.RandomState(1), [(8, 3, 3, 3)]
    for before, after in itertools.pairwise(WIDTHS):
        shapes += [(before, 1, 3, 3), (after, before, 1, 1)]
    found = {}
    for i, shape in enumerate([*shapes, (1001, 256, 1, 1)]):
        scale = np.sqrt(2 / np.prod(shape[1:]))
        found[f"{i}.weight"] = random.normal(0, scale, shape).astype(np.float32)
        found[f"{i}.bias"] = random.uniform(0, 0.5, shape[0]).astype(np.float32)
        found[f"{i}.meta"] = np.array([STRIDES[i] if i < 27 else 1, i % 2 and i < 27, 3 if i < 27 else 0])
    return found


def plain_forward(arrays, x):
    """The chain as the file says it, tap by tap in float64: (N, 3, 128, 128) -> (N, 1001)."""
    for i in range(28):
        stride, depthwise, act = arrays[f"{i}.meta"]
        weight, bias = (arrays[f"{i}.{what}"].astype(np.float64) for what in ("weight", "bias"))
        if i == 27:
            x = x.mean((2, 3), keepdims=True)
        k, size = weight.shape[-1], x.shape[-1] // stride
        before, after = (0, 0) if k == 1 else (1, 1) if stride == 1 else (0, 1)
        x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
        out = np.zeros((len(x), len(weight), size, size)) + bias[:, None, None]
        for row in range(k):
            for column in range(k):
                seen = x[:, :, row : row + stride * size : stride, column : column + stride * size : stride]
                tap = weight[:, :, row, column]
                out += seen * tap[:, 0, None, None] if depthwise else np.einsum("oc,nchw->nohw", tap, seen)
        x = np.clip(out, 0, 6) if act == 3 else out
    return x[:, :, 0, 0]


@pytest.fixture
def inputs(arrays, tmp_path, monkeypatch):
    """(weights, images, root), and the hash of these weights in the place of the real one's."""
    weights, images = tmp_path / "weights.npz", tmp_path / "images"
    np.savez(weights, **arrays)
    monkeypatch.setitem(WEIGHTS, "sha256", hashlib.sha256(weights.read_bytes()).hexdigest())
    images.mkdir()
    random = np.random.RandomState(2)
    with (images / "images.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["ImageId", "Author", "TrueLabel"])
        for i in range(8):
            coarse = Image.fromarray(random.randint(0, 256, (5, 5, 3), np.uint8))
            coarse.resize((200, 150 + i)).save(images / f"picture{i}.{'png' if i % 2 else 'webp'}")
            lines.writerow([f"picture{i}", 'Someone, "somewhere"', 1 + 100 * i])
    return weights, images, tmp_path / "root"


def run(inputs, *more):
    return main([f"--{name}={value}" for name, value in zip(("weights", "images", "root"), inputs, strict=True)]
                + list(more))  # fmt: skip


def test_the_network_is_the_chain_of_the_file(arrays):
    net = photographs.with_weights(arrays)
    x = np.random.RandomState(3).uniform(-1, 1, (2, 3, 128, 128))
    expected = plain_forward(arrays, x)
    with torch.no_grad():
        single, found = net(torch.from_numpy(x).float()).numpy(), net.double()(torch.from_numpy(x)).numpy()
    assert found.shape == (2, 1000) and expected.std() > 0.1
    np.testing.assert_allclose(found, expected[:, 1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(single, expected[:, 1:], rtol=1e-3, atol=1e-3)


def test_the_halves_are_disjoint_and_fixed():
    calibrating, measured = photographs.split(1000)
    assert len(calibrating) == len(measured) == 500
    assert sorted([*calibrating.tolist(), *measured.tolist()]) == list(range(1000))
    assert calibrating[:5].tolist() == [993, 859, 298, 553, 672] and measured[-2:].tolist() == [559, 684]


def test_a_picture_is_its_middle(tmp_path):
    """Left half red, right half blue, 292x146: nothing is resized, and columns 82 to 210 are cut out."""
    pixels = np.zeros((146, 292, 3), np.uint8)
    pixels[:, :146, 0], pixels[:, 146:, 2], pixels[9, :, 1] = 255, 255, 7
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "b.png")
    (tmp_path / "images.csv").write_text("ImageId,TrueLabel\na,1\nb,1000\n")
    (colour, grey), labels = photographs.load_pictures(tmp_path)
    assert colour.dtype == torch.uint8 and np.array_equal(colour.permute(1, 2, 0), pixels[9:137, 82:210])
    assert torch.equal(grey, colour[:1].expand(3, -1, -1)) and labels.tolist() == [0, 999]


def test_from_files_to_the_table(inputs, arrays, capsys):
    assert "Not run" in table(inputs[2])
    assert run(inputs, "--T", "2", "16") == 0
    shown = capsys.readouterr().out.partition("\n\n")[2]
    assert shown.strip() == table(inputs[2]).strip()
    record = json.loads((inputs[2] / "photographs.json").read_text())
    assert record["pictures"] | {"hash": ""} == {"hash": "", "calibration": 4, "measured": 4}

    pictures, labels = photographs.load_pictures(inputs[1])
    measured = photographs.split(8)[1]
    expected = plain_forward(arrays, (pictures[measured].numpy() / 255 - 0.5) / 0.5)[:, 1:].argmax(1)
    assert np.array_equal(unpack(record["ann"]["predictions"]), expected)
    assert record["ann"]["correct"] == (expected == labels[measured].numpy()).sum()
    spiking = ["optimal", "opi", "max_norm", "robust_norm", "max_norm, hard"]
    assert list(record["results"]) == [*spiking, "optimal, even", "opi, even"]
    for name, found in record["results"].items():
        assert list(found) == ["2", "16"]
        for at in found.values():
            assert at["agree"] == (unpack(at["predictions"]) == expected).sum()
            assert name not in spiking or 0 < at["spikes"] < at["operations"]
    assert record["results"]["opi, even"]["16"]["agree"] >= record["results"]["opi"]["2"]["agree"]
    assert record["results"]["max_norm"]["16"]["spikes"] > record["results"]["max_norm, hard"]["16"]["spikes"]


def test_what_agrees_with_itself_is_100_percent(inputs, monkeypatch):
    class Ideal:
        """A simulation that ends with the ANN's own outputs."""

        events, seconds = {3: {}}, {3: 0.0}

        def __init__(self, net, images):
            self.outputs = net(images)

        def predictions(self, t):
            return self.outputs.argmax(1)

        def undecided(self, t):
            return 0

        def spikes(self, t):
            return {}

    net = photographs.load_network(inputs[0])
    monkeypatch.setattr(photographs, "simulate", lambda snn, images, T, at: Ideal(net, images))
    monkeypatch.setattr(photographs, "constant_rate_network", lambda snn, T: net)
    record = photographs.measure(*inputs, (3,))
    assert {found["3"]["agree"] for found in record["results"].values()} == {4}
    lines = [line.split("|") for line in table(inputs[2]).splitlines() if line.startswith("| ")]
    assert [line[2].strip() for line in lines[1:8]] == ["100.0"] * 7


def test_it_resumes_where_it_stopped(inputs, monkeypatch):
    simulated, simulate = [], simulation_simulate.simulate

    def noted(snn, images, T, at):
        simulated.append(at)
        return simulate(snn, images, T, at=at)

    monkeypatch.setattr(photographs, "simulate", noted)
    first = photographs.measure(*inputs, (2, 1))
    assert simulated == [[1], [2], *[[1, 2]] * 4]
    simulated.clear()
    second = photographs.measure(*inputs, (1, 2, 3))
    assert simulated == [[3]] * 5
    assert {name: list(found) for name, found in second["results"].items()} == {
        key: ["1", "2", "3"] for key in first["results"]
    }
    assert all(second["results"][name][t] == at for name, found in first["results"].items() for t, at in found.items())
    simulated.clear()
    Image.new("RGB", (150, 150), "red").save(inputs[1] / "picture1.png")
    third = photographs.measure(*inputs, (1,))
    assert simulated == [[1]] * 5 and list(third["results"]["opi"]) == ["1"]


def without_table(weights, images):
    (images / "images.csv").unlink()


def without_picture(weights, images):
    (images / "picture3.png").unlink()


def damaged_picture(weights, images):
    (images / "picture3.png").write_bytes(b"no picture")


def other_columns(weights, images):
    (images / "images.csv").write_text("file,label\npicture1,3\npicture2,3\n")


def no_such_label(weights, images):
    (images / "images.csv").write_text("ImageId,TrueLabel\npicture1,0\npicture2,3\n")


def no_number(weights, images):
    (images / "images.csv").write_text("ImageId,TrueLabel\npicture1,cat\npicture2,3\n")


def other_weights(weights, images):
    np.savez(weights, weight=np.zeros(3))


def without_weights(weights, images):
    weights.unlink()


@pytest.mark.parametrize(
    "spoil, says",
    [
        (without_table, "images.csv cannot be read (No such file or directory): it lists pictures"),
        (without_picture, "images lacks 1 of 8 pictures of images.csv, such as picture3."),
        (damaged_picture, "picture3.png is not a readable picture"),
        (other_columns, "images.csv needs the columns ImageId and TrueLabel"),
        (no_such_label, "images.csv needs two pictures or more, with labels from 1 to 1000."),
        (no_number, "images.csv needs the columns ImageId and TrueLabel"),
        (other_weights, "weights.npz is not mobilenet_v1_0.25_128_imagenet.npz: its sha256 is"),
        (without_weights, "weights.npz cannot be read (No such file or directory); give mobilenet"),
    ],
)
def test_bad_input_is_one_sentence(inputs, spoil, says, capsys):
    spoil(*inputs[:2])
    assert run(inputs) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("photographs: ") and err.count("\n") == 1 and says in err
    assert not inputs[2].exists()


def test_steps_are_counted_from_one(inputs):
    with pytest.raises(UserError, match="T is a number of steps"):
        photographs.measure(*inputs, (0,))


def test_the_real_table_fits_80_columns(tmp_path):
    at = {"agree": 500, "operations": 9.99e8}
    results = {name: {str(t): at for t in (*photographs.T, 256)} for name in ("robust_norm", "max_norm, hard")}
    record = {"pictures": {"measured": 500, "calibration": 500}, "ann": {"correct": 500}, "results": results}
    (tmp_path / "photographs.json").write_text(json.dumps(record | {"network": {"macs": 13_570_048}}))
    text = table(tmp_path)
    assert text.count("100.0") == 15 and "most 4.4 points" in text and text.count("73.62") == 14
    assert max(map(len, text.splitlines())) <= 80
