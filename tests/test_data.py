"""The dataset contract for every registered dataset, then each dataset by itself. All files are small and made here."""

import gzip
import hashlib
import io
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional

from ann2snn.data import crop_flip, load, names
from ann2snn.errors import UserError

CIFAR10_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def cifar_parts(classes: int, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    return [(draw.integers(0, 256, (n, 3, 32, 32), np.uint8), draw.integers(0, classes, n)) for n in sizes]


CIFAR_PARTS = {"cifar10": cifar_parts(10, [7, 8, 9, 10, 11, 13]), "cifar100": cifar_parts(100, [45, 13])}


def binary_files(name: str) -> dict[str, bytes]:
    if name == "cifar10":
        files = [f"cifar-10-batches-bin/{part}.bin" for part in CIFAR10_BATCHES]
    else:
        files = ["cifar-100-binary/train.bin", "cifar-100-binary/test.bin"]
    contents = []
    for images, labels in CIFAR_PARTS[name]:
        columns = [labels] if name == "cifar10" else [labels // 5, labels]
        records = np.column_stack([*columns, images.reshape(len(images), -1)])
        contents.append(records.astype(np.uint8).tobytes())
    return dict(zip(files, contents, strict=True))


class Python2Pickler(pickle._Pickler):
    """Writes strings and truth values as the Python 2 of the official files did."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    def save_truth(self, value):
        self.save_long(int(value))

    dispatch[bytes], dispatch[bool] = save_string, save_truth


def pickle_files(name: str) -> dict[str, bytes]:
    if name == "cifar10":
        files, key = [f"cifar-10-batches-py/{part}" for part in CIFAR10_BATCHES], b"labels"
    else:
        files, key = ["cifar-100-python/train", "cifar-100-python/test"], b"fine_labels"
    contents = []
    for images, labels in CIFAR_PARTS[name]:
        buffer = io.BytesIO()
        entry = {b"batch_label": b"part", b"data": images.reshape(len(images), -1), key: labels.tolist()}
        Python2Pickler(buffer, 2).dump(entry)
        contents.append(buffer.getvalue().replace(b"numpy._core", b"numpy.core"))
    return dict(zip(files, contents, strict=True))


def idx(array: np.ndarray) -> bytes:
    return (0x800 + array.ndim).to_bytes(4, "big") + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def fashion_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 45), ("t10k", 13)):
        files[f"FashionMNIST/raw/{part}-images-idx3-ubyte"] = idx(draw.integers(0, 256, (n, 28, 28), np.uint8))
        files[f"FashionMNIST/raw/{part}-labels-idx1-ubyte"] = idx(draw.integers(0, 10, n).astype(np.uint8))
    return files


def imagenet_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 6), ("val", 2)):
        for wnid in ("n01", "n02", "n03"):
            for i in range(count):
                buffer = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (40 + i, 50, 3), np.uint8)).save(buffer, "png")
                files[f"{part}/{wnid}/{i}{9 - i}.png"] = buffer.getvalue()
    return files


FILES = {
    "digits": dict,
    "cifar10": lambda: binary_files("cifar10"),
    "cifar100": lambda: binary_files("cifar100"),
    "fashion_mnist": fashion_files,
    "imagenet": imagenet_files,
}


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture(scope="module", params=names())
def data(request, tmp_path_factory):
    root = write(tmp_path_factory.mktemp(request.param), FILES[request.param]())
    return load(request.param, root, accept_unofficial=True)


# --- the contract ---


def test_every_image_has_the_shape_and_a_label_of_the_dataset(data):
    for split in (data.train, data.validation, data.test):
        images, labels = split.__getitems__(range(len(split)))
        assert images.shape == (len(split), *data.shape) and images.dtype == torch.float32
        assert labels.dtype == split.labels.dtype == torch.int64 and torch.equal(labels, split.labels)
        assert 0 <= labels.min() and labels.max() < data.classes


def test_getitems_equals_item_access(data):
    images, labels = data.train.__getitems__([3, 0, 5])
    for row, index in enumerate([3, 0, 5]):
        image, label = data.train[index]
        assert torch.equal(image, images[row]) and label == labels[row] and type(label) is int
    with pytest.raises(IndexError):
        data.test[len(data.test)]


@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_batches_give_every_image_once_in_order_with_a_ragged_end(data, size):
    split = data.test.subset(range(6))
    batches = list(split.batches(size))
    assert [len(labels) for _, labels in batches] == {1: [1] * 6, 4: [4, 2], 10_000: [6]}[size]
    for got, wanted in zip(zip(*batches, strict=True), split.__getitems__(range(6)), strict=True):
        assert torch.equal(torch.cat(got), wanted)


def test_a_data_loader_takes_a_split(data):
    loader = torch.utils.data.DataLoader(data.validation, batch_size=2, collate_fn=lambda batch: batch)
    assert torch.equal(torch.cat([labels for _, labels in loader]), data.validation.labels)


def test_train_and_validation_share_nothing(data):
    both = torch.cat([data.train.indices, data.validation.indices])
    assert len(both.unique()) == len(both) and len(data.validation) > 0


def test_calibration_is_distinct_unaugmented_training_images_by_seed(data):
    n = len(data.train) // 2
    some = data.calibration(n, seed=1)
    assert len(some) == len(some.indices.unique()) == n
    assert torch.isin(some.indices, data.train.indices).all()
    assert not torch.isin(some.indices, data.validation.indices).any()
    assert torch.equal(some[0][0], data.train.subset(torch.where(data.train.indices == some.indices[0])[0])[0][0])
    assert torch.equal(data.calibration(n - 1, seed=1).indices, some.indices[:-1])
    assert some.indices_hash == data.calibration(n, seed=1).indices_hash != data.calibration(n, seed=2).indices_hash
    assert len(data.calibration(len(data.train))) == len(data.train)
    for wrong in (0, -1, len(data.train) + 1):
        with pytest.raises(UserError, match=rf"{len(data.train)} training images.* {wrong} "):
            data.calibration(wrong)


def test_splits_can_be_pickled_for_workers(data):
    copy = pickle.loads(pickle.dumps(data.train.augmented("crop_flip")))
    assert torch.equal(copy.labels, data.train.labels)


@pytest.mark.parametrize("name", [n for n in names() if n != "digits"])
def test_absent_data_is_one_sentence_and_touches_no_network(name, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UserError, match=r"--data-root or ANN2SNN_DATA") as error:
        load(name, tmp_path / "nowhere")
    message = str(error.value)
    assert f"is not in {tmp_path / 'nowhere'}: put its " in message and "torchvision" in message
    assert message.endswith(".") and "\n" not in message and ". " not in message


def test_the_root_is_the_argument_else_the_variable_else_data(tmp_path, monkeypatch):
    for value, root, wanted in (("v", "a", "a"), ("v", None, "v"), ("", None, "data")):
        monkeypatch.setenv("ANN2SNN_DATA", value)
        with pytest.raises(UserError, match=rf"is not in {wanted}:"):
            load("cifar10", root)


@pytest.mark.parametrize(("wrong", "nearest"), [("cifar", "cifar10"), ("mnist", "fashion_mnist"), ("digit", "digits")])
def test_an_unknown_name_answers_with_the_nearest(wrong, nearest):
    with pytest.raises(UserError, match=rf"{wrong!r}; the nearest are .*{nearest}"):
        load(wrong)
    with pytest.raises(UserError, match="cifar10, cifar100, digits, fashion_mnist, imagenet"):
        load("xyz")


# --- digits ---


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_are_split_1077_360_360_and_stratified(digits):
    splits = digits.train, digits.validation, digits.test
    assert [len(split) for split in splits] == [1077, 360, 360]
    assert torch.equal(torch.cat([split.indices for split in splits]).sort()[0], torch.arange(1797))
    total = torch.cat([split.labels for split in splits]).bincount()
    for split in splits:
        assert (split.labels.bincount() - total * len(split) / 1797).abs().max() <= 1
    assert digits.official and digits.augmentation is None


def test_digits_are_dyadic_in_the_unit_interval(digits):
    images, _ = next(digits.train.batches(2000))
    assert torch.equal((images * 16).unique(), torch.arange(17.0))


def test_digits_refuse_another_permutation(monkeypatch):
    monkeypatch.setattr("ann2snn.data.digits.PERMUTATION", "0" * 64)
    with pytest.raises(UserError, match=r"requirements\.lock"):
        load("digits")


# --- CIFAR ---

CIFAR = pytest.mark.parametrize("name", ["cifar10", "cifar100"])
FILED = pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])


@CIFAR
def test_both_layouts_and_places_give_the_same(name, tmp_path):
    binary, pickles = (write(tmp_path / files.__name__, files(name)) for files in (binary_files, pickle_files))
    roots = [binary, pickles, *binary.iterdir(), *pickles.iterdir()]
    assert len(roots) == 4
    first, *others = (load(name, root, accept_unofficial=True) for root in roots)
    for other in others:
        assert other.hash == first.hash
        for split in ("train", "validation", "test"):
            for a, b in zip(*(next(getattr(d, split).batches(99)) for d in (first, other)), strict=True):
                assert torch.equal(a, b)
    assert [len(first.train), len(first.validation), len(first.test)] == [41, 4, 13]


@CIFAR
def test_pixels_are_those_of_torchvision(name, tmp_path):
    images, labels = CIFAR_PARTS[name][-1]
    test = load(name, write(tmp_path, binary_files(name)), accept_unofficial=True).test
    for i in (0, 12):
        picture = functional.to_tensor(Image.fromarray(images[i].transpose(1, 2, 0)))
        image, label = test[i]
        assert torch.equal(image, functional.normalize(picture, test.normalise.mean, test.normalise.std))
        assert label == labels[i]


@CIFAR
def test_official_files_are_taken_as_such(name, tmp_path, monkeypatch):
    files = pickle_files(name)
    md5s = [[Path(path).name, hashlib.md5(content).hexdigest()] for path, content in files.items()]
    original = getattr(torchvision.datasets, name.upper())
    monkeypatch.setattr(original, "train_list", md5s[:-1])
    monkeypatch.setattr(original, "test_list", md5s[-1:])
    assert load(name, write(tmp_path, files)).official


@FILED
def test_an_unofficial_file_is_refused_by_name_and_taken_with_the_flag(name, tmp_path):
    files = FILES[name]()
    with pytest.raises(
        UserError, match=rf"{Path(next(iter(files))).name} is not the official.*--accept-unofficial-data"
    ):
        load(name, write(tmp_path, files))
    assert not load(name, tmp_path, accept_unofficial=True).official


@FILED
def test_the_hash_covers_every_file(name, tmp_path):
    files = FILES[name]()
    hashes = {load(name, write(tmp_path, files), accept_unofficial=True).hash}
    for path, content in files.items():
        changed = content[:-1] + bytes([content[-1] ^ 1])
        hashes.add(load(name, write(tmp_path, files | {path: changed}), accept_unofficial=True).hash)
    assert len(hashes) == len(files) + 1


@FILED
@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("damage", ["short", "long", "empty", "stub", "nonsense"])
def test_damaged_files_are_refused_in_any_case(name, damage, accept, tmp_path):
    files = FILES[name]()
    for path, content in files.items() if accept else list(files.items())[:1]:
        bad = {
            "short": content[:-1],
            "long": content + b"0",
            "empty": b"",
            "stub": content[:3],
            "nonsense": b"\xff" * len(content),
        }[damage]
        with pytest.raises(UserError, match=rf"{Path(path).name} is damaged: .*; fetch it again\."):
            load(name, write(tmp_path, files | {path: bad}), accept_unofficial=accept)


@pytest.mark.parametrize(
    ("name", "label"), [("cifar10", b"\x0a"), ("cifar100", b"\x14\x00"), ("cifar100", b"\x00\x64")]
)
def test_labels_out_of_range_are_refused(name, label, tmp_path):
    files = binary_files(name)
    last = list(files)[-1]
    root = write(tmp_path, files | {last: label + files[last][len(label) :]})
    with pytest.raises(UserError, match="test.*labels of a record are not below"):
        load(name, root, accept_unofficial=True)


@FILED
def test_a_missing_file_is_named(name, tmp_path):
    files = FILES[name]()
    path, _ = files.popitem()
    with pytest.raises(UserError, match=f"{Path(path).name} is missing"):
        load(name, write(tmp_path, files), accept_unofficial=True)


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@CIFAR
def test_a_pickle_with_other_things_runs_no_code(name, tmp_path):
    files = pickle_files(name)
    for content, reason in (
        (pickle.dumps({"data": Intruder(tmp_path / "trace")}), "is not an array"),
        (pickle.dumps([1, 2]), "no pickle of images"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}), "images of float64"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "1 labels"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}), "labels from -1"),
        (next(iter(files.values()))[:-40], "no pickle of images"),
    ):
        with pytest.raises(UserError, match=rf"is damaged: .*{reason}"):
            load(name, write(tmp_path, files | {next(iter(files)): content}), accept_unofficial=True)
    assert not (tmp_path / "trace").exists()


# --- augmentation ---


def test_crop_flip_is_that_of_torchvision():
    draws = torch.cartesian_prod(torch.arange(9), torch.arange(9), torch.arange(2))
    offsets, flips = draws[:, :2], draws[:, 2].bool()
    images = torch.randint(
        0, 256, (len(draws), 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    kept = images.clone()
    got = crop_flip(images, offsets, flips)
    for image, (top, left), flip, result in zip(images, offsets.tolist(), flips, got, strict=True):
        wanted = functional.crop(functional.pad(image, [4]), top, left, 32, 32)
        assert torch.equal(result, functional.hflip(wanted) if flip else wanted)
    assert torch.equal(images, kept) and got.dtype == torch.uint8


def test_augmented_draws_from_the_global_generator_and_pads_before_normalising(tmp_path):
    data = load("cifar10", write(tmp_path, binary_files("cifar10")), accept_unofficial=True)
    assert data.augmentation == "crop_flip"
    augmented, indices = data.train.augmented(data.augmentation), list(range(40))
    torch.manual_seed(1)
    images, labels = augmented.__getitems__(indices)
    torch.manual_seed(1)
    offsets, flips = torch.randint(0, 9, (40, 2)), torch.rand(40) < 0.5
    raw = data.train.images[data.train.indices[:40]]
    assert torch.equal(images, data.train.normalise(crop_flip(raw, offsets, flips)))
    assert torch.equal(labels, data.train.labels[:40]) and 0 < flips.sum() < 40
    assert set(range(9)) == set(offsets.flatten().tolist())
    assert not torch.equal(augmented.__getitems__(indices)[0], images)
    assert torch.equal(data.train.augmented(None)[0][0], data.train[0][0])


# --- Fashion-MNIST ---


def test_fashion_mnist_is_read_plain_and_gzipped(tmp_path):
    plain = load("fashion_mnist", write(tmp_path / "plain", fashion_files()), accept_unofficial=True)
    zipped = {f"{Path(path).name}.gz": gzip.compress(content) for path, content in fashion_files().items()}
    assert load("fashion_mnist", write(tmp_path / "zipped", zipped), accept_unofficial=True).hash == plain.hash
    (tmp_path / "zipped" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte cannot be read"):
        load("fashion_mnist", tmp_path / "zipped", accept_unofficial=True)


def test_fashion_mnist_pixels_are_those_of_torchvision(tmp_path):
    test = load("fashion_mnist", write(tmp_path, fashion_files()), accept_unofficial=True).test
    theirs = torchvision.datasets.FashionMNIST(tmp_path, train=False)
    for i in range(len(theirs)):
        picture, label = theirs[i]
        wanted = functional.normalize(functional.to_tensor(picture), test.normalise.mean, test.normalise.std)
        assert torch.equal(test[i][0], wanted) and test[i][1] == label


def test_fashion_mnist_in_another_number_type_is_refused(tmp_path):
    path = "FashionMNIST/raw/t10k-labels-idx1-ubyte"
    signed = b"\0\0\x09" + fashion_files()[path][3:]
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is damaged"):
        load("fashion_mnist", write(tmp_path, fashion_files() | {path: signed}), accept_unofficial=True)


def test_fashion_mnist_files_of_different_lengths_are_refused(tmp_path):
    labels = {"FashionMNIST/raw/t10k-labels-idx1-ubyte": idx(np.zeros(12, np.uint8))}
    with pytest.raises(UserError, match="13 images of uint8 and 12 labels"):
        load("fashion_mnist", write(tmp_path, fashion_files() | labels), accept_unofficial=True)


# --- ImageNet ---


def test_imagenet_is_resized_and_cropped_as_by_torchvision(tmp_path):
    data = load("imagenet", write(tmp_path, imagenet_files()), accept_unofficial=True)
    assert (data.classes, data.shape, data.official) == (3, (3, 224, 224), False)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.images.paths == [str(path) for path in sorted((tmp_path / "val").glob("*/*"))]
    picture = functional.center_crop(functional.resize(Image.open(tmp_path / "val/n02/18.png"), [256]), [224, 224])
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    assert torch.equal(data.test[3][0], functional.normalize(functional.to_tensor(picture), mean, std))


def test_imagenet_hash_is_of_paths_and_sizes(tmp_path):
    files = imagenet_files()

    def digest(place, changes):
        return load("imagenet", write(tmp_path / place, files | changes), accept_unofficial=True).hash

    first = digest("a", {})
    assert digest("b/imagenet", {}) == load("imagenet", tmp_path / "b", accept_unofficial=True).hash == first
    longer = digest("c", {"val/n02/18.png": files["val/n02/18.png"] + b"0"})
    assert len({first, longer, digest("d", {"val/n02/2.png": b"0"}), digest("e", {"train/n02/9.png": b"0"})}) == 4


def test_imagenet_in_other_numbers_or_classes_is_refused(tmp_path):
    root = write(tmp_path, imagenet_files())
    with pytest.raises(UserError, match=r"18 training and 6 test images in 3 classes.*--accept-unofficial-data"):
        load("imagenet", root)
    write(root, {"val/n09/0.png": b"0"})
    with pytest.raises(UserError, match="has the class n09"):
        load("imagenet", root, accept_unofficial=True)


def test_an_unreadable_picture_is_named(tmp_path):
    root = write(tmp_path, imagenet_files() | {"val/n01/09.png": b"0"})
    with pytest.raises(UserError, match=r"09\.png is no readable picture"):
        load("imagenet", root, accept_unofficial=True).test[0]


def test_folders_without_pictures_are_refused(tmp_path):
    write(tmp_path, {"train/n01/readme.txt": b"", "val/n01/readme.txt": b""})
    with pytest.raises(UserError, match="has no pictures"):
        load("imagenet", tmp_path, accept_unofficial=True)
