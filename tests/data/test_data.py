"""The dataset contract for every registered dataset, then each dataset by itself. All files are small and made here."""

import gzip
import hashlib
import pickle
import shlex
import socket
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from dataset_files import (
    CIFAR_PARTS,
    binary_files,
    fashion_files,
    idx,
    imagenet_files,
    pickle_files,
    write,
)
from PIL import Image
from torchvision.transforms import functional

from ann2snn.data.archives import LAYOUTS
from ann2snn.data.augmentations import crop_flip
from ann2snn.data.registry import load, names
from ann2snn.errors import UserError


@pytest.fixture
def tmp_path(tmp_path):
    """A folder whose parent is the test's own too: `refused` looks at both."""
    (own := tmp_path / "own").mkdir()
    return own


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

FILES = {
    "digits": dict,
    "cifar10": lambda: binary_files("cifar10"),
    "cifar100": lambda: binary_files("cifar100"),
    "fashion_mnist": fashion_files,
    "imagenet": imagenet_files,
}


@pytest.fixture(scope="module", params=names())
def data(request, tmp_path_factory):
    root = write(tmp_path_factory.mktemp(request.param), FILES[request.param]())
    return load(request.param, root, accept_unofficial=True)


# --- the contract ---


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_batches_are_made_where_the_images_are(device):
    plain, batches = load("digits").train.augmented("crop_flip"), []
    for split in (plain, plain.to(device)):
        torch.manual_seed(3)
        batches.append(split.__getitems__([5, 0, 7]))
    (images, labels), (there, same) = batches
    assert there.device.type == same.device.type == device
    assert torch.equal(there.cpu(), images) and torch.equal(same.cpu(), labels)


def test_every_image_has_the_shape_and_a_label_of_the_dataset(data):
    for split in (data.train, data.validation, data.test):
        images, labels = split.__getitems__(range(len(split)))
        assert images.shape == (len(split), *data.shape) and images.dtype == torch.float32
        assert labels.dtype == split.labels.dtype == torch.int64 and torch.equal(labels, split.labels)
        assert labels.min() >= 0 and labels.max() < data.classes


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
    assert f"is not in {tmp_path / 'nowhere'}, which does not exist: put its " in message and "torchvision" in message
    assert message.endswith(".") and "\n" not in message and ". " not in message


def test_the_root_is_the_argument_else_the_variable_else_data(tmp_path, monkeypatch):
    for value, root, wanted in (("v", "a", "a"), ("v", None, "v"), ("", None, "data")):
        monkeypatch.setenv("ANN2SNN_DATA", value)
        with pytest.raises(UserError, match=rf"is not in {wanted}, which does not exist:"):
            load("cifar10", root)


@pytest.mark.parametrize(("wrong", "nearest"), [("cifar", "cifar10"), ("mnist", "fashion_mnist"), ("digit", "digits")])
def test_an_unknown_name_answers_with_the_nearest(wrong, nearest):
    with pytest.raises(UserError, match=rf"{wrong!r}; the nearest are: .*{nearest}"):
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
    assert digits.official


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
    sizes = {"cifar10": [41, 4, 13], "cifar100": [131, 14, 113]}
    assert [len(first.train), len(first.validation), len(first.test)] == sizes[name]


@CIFAR
def test_pixels_are_those_of_torchvision(name, tmp_path):
    images, labels = CIFAR_PARTS[name][-1]
    test = load(name, write(tmp_path, binary_files(name)), accept_unofficial=True).test
    for i in (0, 12):
        picture = functional.to_tensor(Image.fromarray(images[i].transpose(1, 2, 0)))
        image, label = test[i]
        assert torch.equal(image, functional.normalize(picture, test.normalise.mean, test.normalise.std))
        assert label == labels[i]


def official(monkeypatch, name: str, files: dict[str, bytes], archive: bytes | None = None):
    """Makes these files, and the bytes of an archive, the official ones."""
    (layout,) = (layout for layout in LAYOUTS[name] if next(iter(files)).startswith(f"{layout.folder}/"))
    md5s = {Path(path).name: hashlib.md5(content).hexdigest() for path, content in files.items()}
    counts = {file: len(layout.decode(content)[0]) for file, content in zip(md5s, files.values(), strict=True)}
    changes: dict = {"files": {file: (md5s[file], counts[file]) for file in md5s}}
    if archive:
        changes["archive"] = (layout.archive[0], hashlib.md5(archive).hexdigest())
    changed = tuple(replace(x, **changes) if x is layout else x for x in LAYOUTS[name])
    monkeypatch.setitem(LAYOUTS, name, changed)


@FILED
def test_official_files_are_taken_as_such(name, tmp_path, monkeypatch, capsys):
    files = FILES[name]()
    official(monkeypatch, name, files)
    assert load(name, write(tmp_path, files)).official
    assert load(name, tmp_path, accept_unofficial=True).official
    assert capsys.readouterr() == ("", "")


@CIFAR
def test_names_and_checksums_are_those_of_torchvision(name):
    theirs, (pickles, binary) = getattr(torchvision.datasets, name.upper()), LAYOUTS[name]
    assert pickles.title == binary.title == theirs.__name__ and pickles.folder == theirs.base_folder
    assert {file: md5 for file, (md5, _) in pickles.files.items()} == dict(theirs.train_list + theirs.test_list)
    assert pickles.archive == (theirs.filename, theirs.tgz_md5)
    for layout in LAYOUTS[name]:
        *train, test = [images for _, images in layout.files.values()]
        assert (sum(train), test) == (50_000, 10_000)


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
    with pytest.raises(UserError, match=f"lacks {Path(path).name}; fetch it again"):
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
        (pickle.dumps([1, 2]), "not a pickle of images"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}), "images of float64"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "1 labels"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}), "labels from -1"),
        (next(iter(files.values()))[:-40], "not a pickle of images"),
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
    augmented, indices = data.train.augmented("crop_flip"), list(range(40))
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
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz is damaged: Not a gzipped file"):
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


def test_imagenet_of_other_size_or_classes_is_refused(tmp_path):
    root = write(tmp_path, imagenet_files())
    with pytest.raises(UserError, match=r"18 training and 6 test images in 3 classes.*--accept-unofficial-data"):
        load("imagenet", root)
    write(root, {"val/n09/0.png": b"0"})
    with pytest.raises(UserError, match="lacks 1 of the 4 classes that .*val has, such as n09"):
        load("imagenet", root, accept_unofficial=True)


def test_an_unreadable_picture_is_named(tmp_path):
    root = write(tmp_path, imagenet_files() | {"val/n01/09.png": b"0"})
    with pytest.raises(UserError, match=r"09\.png is not a readable picture"):
        load("imagenet", root, accept_unofficial=True).test[0]


def test_folders_without_pictures_are_refused(tmp_path):
    write(tmp_path, {"train/n01/readme.txt": b"", "val/n01/readme.txt": b""})
    with pytest.raises(UserError, match="has no pictures of 1 of its 1 classes, such as n01"):
        load("imagenet", tmp_path, accept_unofficial=True)


# --- bad input: one sentence with what is wrong and the mend, and nothing is changed ---


def refused(name: str, root: Path, *says: str, accept: bool = True) -> str:
    def listing():
        return {path: path.is_file() and path.read_bytes() for path in root.parent.rglob("*")}

    before = listing()
    with pytest.raises(UserError) as caught:
        load(name, root, accept_unofficial=accept)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert all(text in message for text in says), message
    assert listing() == before
    return message


def packed(root: Path, files: dict[str, bytes]) -> bytes:
    """A gzipped archive of files, of a fixed content."""
    write(root, files)
    with tarfile.open(root / "archive.tar.gz", "w:gz") as archive:
        archive.add(root / next(iter(files)).split("/")[0], next(iter(files)).split("/")[0])
    return (root / "archive.tar.gz").read_bytes()


@CIFAR
@pytest.mark.parametrize("files", [binary_files, pickle_files])
def test_an_archive_that_is_not_extracted(name, files, tmp_path, monkeypatch):
    content = packed(tmp_path / "elsewhere", files(name))
    official(monkeypatch, name, files(name), content)
    (layout,) = (layout for layout in LAYOUTS[name] if (tmp_path / "elsewhere" / layout.folder).exists())
    root = tmp_path / "a root"
    for broken in (b"", content[:-9]):
        write(root, {layout.archive[0]: broken})
        refused(
            name,
            root,
            f"{layout.archive[0]} is cut short",
            f"({len(broken):,} bytes): `python -c ",
            "fetches it again.",
        )
    (root / layout.archive[0]).rename(root / f"{layout.archive[0]}.part")
    refused(name, root, f"{layout.archive[0]}.part is cut short")

    write(root, {layout.archive[0]: content, f"{layout.archive[0]}-old": b""})
    message = refused(name, root, f"{layout.archive[0]} is not extracted: `tar -xzf ")
    subprocess.run(shlex.split(message.split("`")[1]), check=True)
    assert load(name, root).official


def test_a_folder_that_was_extracted_in_part(tmp_path, monkeypatch):
    files = binary_files("cifar10")
    content = packed(tmp_path / "elsewhere", files)
    official(monkeypatch, "cifar10", files, content)
    root, folder = tmp_path / "data", tmp_path / "data" / "cifar-10-batches-bin"
    first, *_, last = files
    write(root, {first: files[first], last: files[last][:-1]})
    lacking = "lacks data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin; "
    refused("cifar10", root, f"{folder} {lacking}fetch it again.")
    write(root, {"cifar-10-binary.tar.gz": content[:-1]})
    refused("cifar10", root, f"{lacking}fetch it again, as cifar-10-binary.tar.gz is cut short or not the official")
    write(root, {"cifar-10-binary.tar.gz": content})
    for place in (root, folder):
        message = refused("cifar10", place, f"{lacking}extract it again: `tar -xzf ")
    write(root, {path: files[path] for path in list(files)[1:-1]})
    refused("cifar10", root, "test_batch.bin is damaged: ", "extract it again: `tar -xzf ")
    subprocess.run(shlex.split(message.split("`")[1]), check=True)
    assert load("cifar10", root).official


def test_the_whole_one_of_two_layouts_is_read(tmp_path):
    both = binary_files("cifar10") | dict(list(pickle_files("cifar10").items())[:-1])
    assert not load("cifar10", write(tmp_path, both), accept_unofficial=True).official


@FILED
def test_a_gzipped_file_that_is_cut_short(name, tmp_path):
    files = FILES[name]()
    path, content = list(files.items())[-1]
    del files[path]
    for size in (3, 30, len(gzip.compress(content)) - 1):
        root = write(tmp_path, files | {f"{path}.gz": gzip.compress(content)[:size]})
        refused(name, root, f"{Path(path).name}.gz is damaged: Compressed file ended", "fetch it again.")
    refused(name, write(tmp_path, {f"{path}.gz": b""}), ".gz is damaged: it is empty; fetch it again.")


def test_an_unreadable_file(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    root = write(tmp_path, binary_files("cifar10"))
    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError, match=r"data_batch_1\.bin cannot be read \(Permission denied\); fix that"):
        load("cifar10", root)


def test_a_root_that_is_a_file_or_too_high_or_too_deep(tmp_path):
    data = write(tmp_path / "top" / "data", binary_files("cifar10") | {"cifar-10-batches-bin/html/readme.html": b""})
    refused("cifar10", data / "cifar-10-batches-bin/test_batch.bin", f"is a file: name its folder, {data}/cifar-10")
    refused("cifar10", data / "cifar-10-batches-bin/html", f"not in {data}/cifar-10-batches-bin/html but in {data}/cif")
    refused("cifar10", data / "cifar10", f"is not in {data}/cifar10 but in {data}: name that by --data-root")
    refused("cifar10", data.parent, f"is not in {data.parent} but in {data}: name that by --data-root or ANN2SNN_DATA.")
    refused("cifar100", data, f"CIFAR100 is not in {data}, which holds cifar10: put its folder cifar-100-python or ")
    pictures = write(tmp_path / "a" / "b" / "pictures", imagenet_files())
    refused("cifar10", pictures, "which holds train/, val/: put its folder")
    refused("cifar100", pictures / "train" / "n01", "which holds 09.png, 18.png, 27.png and 3 more: put its folder")
    (tmp_path / "x" / "y" / "z").mkdir(parents=True)
    refused("fashion_mnist", tmp_path / "x" / "y" / "z", "FashionMNIST is not in", "/z, which is empty: put its folder")


@FILED
def test_a_short_file_is_named_and_accepted_with_the_flag_and_marked(name, tmp_path, monkeypatch, capsys):
    files = FILES[name]()
    official(monkeypatch, name, files)
    whole = load(name, write(tmp_path / "whole", files))
    if name == "fashion_mnist":
        short = {path: idx(np.frombuffer(files[path], np.uint8, offset=8 + 8 * ("im" in path)).reshape(
            (13, 28, 28) if "im" in path else 13)[:-1]) for path in list(files)[2:]}  # fmt: skip
    else:
        path = list(files)[-1]
        short = {path: files[path][: -len(files[path]) // len(whole.test)]}
    n = len(whole.test)
    root = write(tmp_path / "short", files | short)
    file = Path(next(iter(short))).name
    defect = f"{file} is not the official file ({n - 1} images, not {n})"
    refused(name, root, f"{defect}; fetch it again, or take it as it is with --accept-unofficial-data.", accept=False)
    capsys.readouterr()
    data = load(name, root, accept_unofficial=True)
    out, err = capsys.readouterr()
    assert out == "" and f"{defect}: taken as it is, and its records are marked.\n" in err
    assert len(err.splitlines()) == len(short)
    assert not data.official and data.hash != whole.hash and len(data.test) == n - 1


@CIFAR
@pytest.mark.parametrize("place", [0, -1])
def test_a_class_without_images_is_refused_in_any_case(name, place, tmp_path, monkeypatch):
    parts = [(images, labels.copy()) for images, labels in CIFAR_PARTS[name]]
    for _, labels in parts[:-1] if place == 0 else parts[-1:]:
        labels[labels == 7] = 8
    monkeypatch.setitem(CIFAR_PARTS, name, parts)
    classes = {"cifar10": 10, "cifar100": 100}[name]
    says = f"The {'training' if place == 0 else 'test'} images in {tmp_path / 'x'}"
    root = write(tmp_path / "x", binary_files(name))
    refused(name, root, says, f"have none of class 7 ({classes - 1} of {classes} classes are there): fetch")


def test_a_test_set_of_fashion_without_a_class(tmp_path):
    files = {"FashionMNIST/raw/t10k-labels-idx1-ubyte": idx(np.zeros(13, np.uint8))}
    refused("fashion_mnist", write(tmp_path, fashion_files() | files), "The test images", "class 1 (1 of 10 classes")


def test_imagenet_that_is_not_extracted(tmp_path, monkeypatch):
    archives = {"ILSVRC2012_img_train.tar": b"train", "ILSVRC2012_img_val.tar": b"val"}
    root = write(tmp_path / "root", archives)
    refused("imagenet", root, "ILSVRC2012_img_train.tar has 5 bytes, not the official 147,897,477,120: fetch it again.")
    monkeypatch.setattr("ann2snn.data.imagenet.ARCHIVES", {name: len(content) for name, content in archives.items()})
    refused("imagenet", root, "ILSVRC2012_img_train.tar is not extracted: `python -c ", f"ImageNet as d; d('{root}', ")
    (root / "train").mkdir()
    refused("imagenet", root, "ILSVRC2012_img_train.tar is not extracted")


def test_imagenet_in_the_wrong_place(tmp_path):
    root = write(tmp_path / "data" / "CLS-LOC", imagenet_files())
    for wrong in (root.parent, root / "train", root / "val" / "n01"):
        refused("imagenet", wrong, f"ImageNet is not in {wrong} but in {root}: name that by")
    refused("imagenet", root / "val/n01/09.png", f"09.png is a file: name its folder, {root}/val/n01, by --data-root")
    for path in (root / "val").rglob("*.png"):
        path.unlink()
    (tmp_path / "data" / "CLS-LOC").rename(tmp_path / "one")
    for folder in ("n01", "n02", "n03"):
        (tmp_path / "one" / "val" / folder).rmdir()
    refused("imagenet", tmp_path / "one", "val lacks 3 of the 3 classes that ", "train has, such as n01: complete it.")
    (tmp_path / "one" / "val").rmdir()
    refused("imagenet", tmp_path / "one", "which holds train/: put its folders train and val (in each a folder")


@pytest.mark.parametrize("stray", ["ILSVRC2012_val_00000001.JPEG", "n04.tar"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_imagenet_with_pictures_or_archives_outside_the_classes(part, stray, tmp_path):
    root = write(tmp_path, imagenet_files() | {f"{part}/{stray}": b"0"})
    refused("imagenet", root, f"{root / part} has pictures or archives beside the", f"such as {stray} (1 in all): put")


def test_imagenet_with_empty_classes_or_pictures(tmp_path):
    files = imagenet_files()
    for part in ("train", "val"):
        some = {path: content for path, content in files.items() if not path.startswith(f"{part}/n02/")}
        root = write(tmp_path / f"lacks-{part}", some)
        refused("imagenet", root, f"{root / part} lacks 1 of the 3 classes that", "such as n02: complete it.")
        write(root, {f"{part}/n02/readme.txt": b"0"})
        refused("imagenet", root, f"{root / part} has no pictures of 1 of its 3 classes, such as n02: complete it.")
        empty = write(tmp_path / f"empty-{part}", files | {f"{part}/n01/09.png": b""})
        refused("imagenet", empty, f"{part}/n01/09.png is an empty file (1 in all): fetch it again.")
    for part in ("train", "val"):
        (tmp_path / "bare" / part).mkdir(parents=True)
    refused("imagenet", tmp_path / "bare", "train has no folders of classes: put each picture into the folder of its")


def test_imagenet_of_other_size_is_reported_and_marked(tmp_path, capsys):
    data = load("imagenet", write(tmp_path, imagenet_files()), accept_unofficial=True)
    out, err = capsys.readouterr()
    assert not data.official and out == "" and len(err.splitlines()) == 1
    assert "18 training and 6 test images in 3 classes, where ImageNet has" in err and "taken as it is" in err


def test_imagenet_is_official_with_fifty_test_images_of_each_class_only(tmp_path, monkeypatch):
    def counted(place, part, classes):
        labels = np.arange({"train": 1_281_167, "val": 50_000}[part]) % 1000
        if part == "val":
            labels[:moved] = 1
        return (None, labels), part

    monkeypatch.setattr("ann2snn.data.imagenet._classes", lambda place: [str(i) for i in range(1000)])
    monkeypatch.setattr("ann2snn.data.imagenet._scan", counted)
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
    moved = 0
    assert load("imagenet", tmp_path).official
    moved = 1
    refused("imagenet", tmp_path, "50,000 (50 of each class) in 1,000; complete it, or take it", accept=False)


@pytest.mark.parametrize("size", [2, 100, -200])
def test_a_picture_that_is_cut_short(size, tmp_path):
    files = imagenet_files()
    root = write(tmp_path, files | {"val/n01/09.png": files["val/n01/09.png"][:size]})
    test = load("imagenet", root, accept_unofficial=True).test
    with pytest.raises(UserError, match=r"09\.png is not a readable picture \(.*\): fetch it again\."):
        test[0]
    assert test[1][0].shape == (3, 224, 224)
