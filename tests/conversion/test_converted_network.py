"""A converted network holds what it needs to be simulated, and nothing of another network."""

import copy
import io
import pickle

import pytest
import torch
from nets import Net, dyadic_images, one_thread, random, residual  # noqa: F401
from torch import nn

from ann2snn import UserError, convert, prepare, replace_activations, simulate
from ann2snn.conversion.neurons import IF
from ann2snn.methods.registry import discover, find

T = 12


def through_torch(snn):
    file = io.BytesIO()
    torch.save(snn, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "torch.save": through_torch,
    "pickle": lambda snn: pickle.loads(pickle.dumps(snn)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle of a deepcopy": lambda snn: pickle.loads(pickle.dumps(copy.deepcopy(snn))),
    "pickle of a pickle": lambda snn: pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(snn)))),
}


@pytest.fixture(scope="module")
def images():
    return dyadic_images(20)


@pytest.fixture(scope="module")
def ann(images):
    return prepare(random(residual()), images[:1])


@pytest.mark.parametrize("name", [n for n in sorted(discover()) if not find(n).required_activation])
def test_a_copy_is_simulated_like_the_original(name, ann, images):
    snn = convert(ann, name, images, T=T)
    expected = simulate(snn, images, T)
    for how, copied in COPIES.items():
        other = copied(snn)
        result = simulate(other, images, T)
        assert torch.equal(result.mean(T), expected.mean(T)), how
        assert result.latency == expected.latency and result.spikes(T) == expected.spikes(T), how
        assert other.meta == snn.meta, how


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_refuses_what_the_original_refuses(how, ann, images):
    other = COPIES[how](convert(ann, "optimal", images, T=16))
    with pytest.raises(UserError, match="was converted for T = 16"):
        simulate(other, images, 64)
    assert set(simulate(other, images).outputs) == {16}
    with pytest.raises(UserError, match=r"was prepared for images \(N, 2, 4, 4\)"):
        simulate(other, torch.zeros(1, 2, 5, 5))


def test_a_prepared_network_keeps_its_shape_and_report(ann, images):
    for copied in COPIES.values():
        other = copied(ann)
        assert other.meta == ann.meta and set(ann.meta) == {"report", "shape"}
        assert torch.equal(convert(other, "max_norm", images).a1.v_th, convert(ann, "max_norm", images).a1.v_th)


@pytest.mark.parametrize(
    "other, words",
    [
        ({"method": "optimal", "T": 4}, "a network with T = 4, and this one has T = 64"),
        ({"method": "max_norm"}, "a network with method = max_norm, and this one has method = optimal"),
        ({"method": "optimal", "T": 64, "reset": "hard"}, "options = {'reset': 'hard'}, and this one has options = "),
    ],
)
def test_a_state_dict_of_another_conversion_is_refused(other, words, ann, images):
    snn, state = convert(ann, "optimal", images, T=64), convert(ann, calibration=images, **other).state_dict()
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    for take in (snn.load_state_dict, nn.ModuleList([snn])[0].load_state_dict):
        with pytest.raises(UserError, match=words):
            take(state)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())


def test_a_state_dict_of_the_same_conversion_is_taken(ann, images):
    """Also through a file that holds tensors only, and where the method does not depend on T."""
    other = prepare(random(residual(), seed=1), images[:1])
    for method, steps in (("optimal", (8, 8)), ("max_norm", (8, 32))):
        snn, saved = (convert(a, method, images, T=t) for a, t in zip((ann, other), steps, strict=True))
        file = io.BytesIO()
        torch.save(saved.state_dict(), file)
        file.seek(0)
        snn.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(simulate(snn, images, 8).mean(), simulate(saved, images, 8).mean())


def test_a_damaged_state_is_reported(ann, images):
    snn = convert(ann, "max_norm", images)
    for wrong in (torch.tensor([1, 2], dtype=torch.uint8), {"T": 4}, torch.tensor([300])):
        with pytest.raises(UserError, match="_extra_state of this state dict is damaged"):
            snn.load_state_dict(snn.state_dict() | {"_extra_state": wrong})


@pytest.mark.parametrize("name", [n for n in sorted(discover()) if not find(n).required_activation])
def test_nothing_is_shared_with_the_ann(name, ann, images):
    """Changing one network leaves the ANN and all other networks made from it as they were."""
    expected, kept = ann(images), {key: value.clone() for key, value in ann.state_dict().items()}
    first, second = (convert(ann, name, images, T=T) for _ in range(2))
    before = simulate(second, images, T).mean()
    memory = {tensor.data_ptr() for tensor in ann.parameters()}
    for snn in (first, second):
        assert not memory & {tensor.data_ptr() for tensor in snn.parameters()}
        memory |= {tensor.data_ptr() for tensor in snn.parameters()}
    for value in [*first.parameters(), *first.buffers()]:
        value.data.fill_(1)
    first.half()
    assert torch.equal(ann(images), expected) and torch.equal(simulate(second, images, T).mean(), before)
    assert all(torch.equal(value, kept[key]) for key, value in ann.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype, images):
    """The weights are those of the half network, exactly; time is summed in float32."""
    half = random(residual()).to(dtype)
    single = copy.deepcopy(half).float()
    results = []
    for net in (half, single):
        ann = prepare(net, images[:1].to(next(net.parameters())))
        snn = convert(ann, "max_norm", images.to(next(net.parameters())))
        results.append(simulate(snn, images.to(next(net.parameters())), 2048))
    assert next(half.parameters()).dtype == dtype  # the caller's stays as it is
    assert results[0].mean().dtype == torch.float32 and torch.equal(results[0].mean(), results[1].mean())


def test_a_network_cast_to_half_later_is_refused(ann, images):
    snn = convert(ann, "max_norm", images)
    with pytest.raises(UserError, match=r"in torch.float16, .*: call \.float\(\) on it"):
        simulate(copy.deepcopy(snn).half(), images, 4)
    with pytest.raises(UserError, match=r"in torch.bfloat16, .*: call \.float\(\) on it"):
        convert(copy.deepcopy(ann).bfloat16(), "max_norm", images)


def test_autocast_around_changes_nothing(ann, images):
    expected = simulate(convert(ann, "ftbc", images, T=8), images).mean()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(simulate(convert(ann, "ftbc", images, T=8), images).mean(), expected)


def test_an_output_for_every_pixel_keeps_its_shape():
    net = random(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1)))
    images = dyadic_images(6)
    snn = convert(prepare(net, images[:1]), "max_norm", images)
    result, expected = simulate(snn, images, 512, at=[1], batch=4), net(images)
    assert result.mean(512).shape == expected.shape == (6, 5, 4, 4)
    assert (result.mean(512) - expected).abs().max() < 0.05 * expected.abs().max()
    assert torch.equal(result.predictions(512), result.outputs[512].argmax(1)) and result.predictions().shape == (
        6,
        4,
        4,
    )
    agreement = (result.predictions() == expected.argmax(1)).double().mean().item()
    assert result.accuracy(expected.argmax(1)) == agreement > 0.9
    best = result.outputs[1].amax(1, keepdim=True)
    assert result.undecided(1) == int(((result.outputs[1] == best).sum(1) > 1).sum())


def test_an_output_of_any_rank_keeps_its_shape(images):
    net = random(Net(lambda s, x: s.f(s.a(s.c(x)).flatten(2)), c=nn.Conv2d(2, 3, 1), a=nn.ReLU(), f=nn.Linear(16, 2)))
    snn = replace_activations(prepare(net, images[:1]), lambda a: IF(1.0))
    assert simulate(snn, images, 4).mean().shape == net(images).shape == (20, 3, 2)


def test_accuracy_is_a_share_of_the_labels(ann, images):
    result = simulate(convert(ann, "max_norm", images), images, 16, at=[4])
    labels = result.predictions(4).clone()
    labels[:5] += 1
    assert result.accuracy(labels, 4) == 0.75 and result.accuracy(labels.tolist(), 4) == 0.75
    assert result.accuracy(result.predictions()) == 1 and result.latency == {4: 4, 16: 16}
    with pytest.raises(UserError, match=r"There are predictions \(20,\), and labels \(19,\)"):
        result.accuracy(labels[1:])
