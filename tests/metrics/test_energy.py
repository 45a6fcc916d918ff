"""Picojoules from counts, by hand."""

import pytest
import torch
from torch import nn

from ann2snn import convert, prepare, simulate
from ann2snn.errors import UserError
from ann2snn.leaderboard import build
from ann2snn.leaderboard.inputs import PageInputs
from ann2snn.leaderboard.pages import energy as page
from ann2snn.metrics import energy
from ann2snn.metrics.energy import FLOAT32, INT8, MEMORY, REGISTER
from ann2snn.metrics.operations import costs, count_macs, macs_of
from ann2snn.networks.registry import create
from ann2snn.records.store import save


@pytest.mark.parametrize(
    "hardware, mac, addition, update",
    [
        (FLOAT32, 3.7 + 0.9, 0.9, 0.9 + 0.9),
        (INT8, 0.2 + 0.1, 0.1, 0.1 + 0.1),
        # 64 bits of the memory take 10 pJ: a byte 1.25, a potential of 32 bits 5
        (REGISTER, 0.2 + 0.1 + 1.25 + 1.25, 0.1 + 1.25, 0.1 + 0.1 + 5 + 5),
        (MEMORY, 0.2 + 0.1 + 1.25 + 1.25, 0.1 + 1.25 + 5 + 5, 0.1 + 0.1 + 5 + 5),
    ],
)
def test_what_one_of_each_costs(hardware, mac, addition, update):
    assert [float(x) for x in (hardware.mac, hardware.addition, hardware.update)] == pytest.approx(
        [mac, addition, update]
    )


def test_an_image_by_hand(make_record):
    """600 + 40 MACs, of which 600 read the image; at T = 8 an image has 8 x 50 operations; 12 neurons."""
    counts = energy.of_record(make_record(T={8: 9}), 8)
    assert float(counts.ann(FLOAT32)) == pytest.approx(640 * 4.6)
    assert float(counts.snn(FLOAT32)) == pytest.approx(600 * 4.6 + 400 * 0.9 + 8 * 12 * 1.8)
    assert float(counts.snn(MEMORY)) == pytest.approx(600 * 2.8 + 400 * 11.35 + 8 * 12 * 10.2)


@pytest.mark.parametrize("hardware", energy.ALL)
def test_at_break_even_both_cost_the_same(make_record, hardware):
    record = make_record(T={1: 9}, n=1)
    record["network"] |= {"macs": {"fc": 1135}, "analog": [], "neurons": {}}
    record["T"]["1"]["operations"] = {"a": 1135 * hardware.break_even}
    counts = energy.of_record(record, 1)
    assert counts.snn(hardware) == pytest.approx(counts.ann(hardware), rel=1e-15)


def test_a_simulation_by_hand():
    """1 x 4 x 4 pixels, 2 filters of 3 x 3 (padded: 4 inner pixels have 9 taps, 8 at edges 6, 4 in corners 4), then 3
    classes: every spike meets 3 weights."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3, bias=False)
    )
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    images = torch.ones(5, 1, 4, 4)
    ann = prepare(net, images[:1])
    result = simulate(convert(ann, "max_norm", images, T=4), images)
    counts = energy.of_result(ann, result, 4)
    assert (counts.T, counts.macs, counts.held, counts.neurons) == (4, 200 + 32 * 3, 200, 32)
    assert counts.operations == 3 * sum(result.spikes(4).values()) / 5 > 0
    assert counts.per_mac == counts.operations / (32 * 3)
    assert FLOAT32.break_even == pytest.approx(46 / 9)
    shown = counts.snn(INT8), counts.ann(INT8), counts.per_mac, counts.operations, *vars(INT8).values()
    assert {type(x) for x in (*shown, INT8.break_even) if x != INT8.name} == {float}  # no fraction is printed
    with pytest.raises(UserError, match="was read at the steps 4, not at 2"):
        energy.of_result(ann, result, 2)


def cells(text):
    heads, _, *lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(heads, line, strict=True)) for line in lines]


def test_a_row_has_its_T_within_a_point_of_the_ann_by_validation_and_16(make_record):
    right = {4: 960, 8: 992, 16: 991}
    made = make_record(n=1000, ann=1000, ann_validation=1000, T=right, validation={4: 900, 8: 990, 16: 1000})
    slow = make_record(n=1000, ann=1000, ann_validation=1000, T={16: 500}, method="opi")
    hard = make_record(n=1000, ann=1000, T={16: 500}, options={"reset": "hard"})
    known = PageInputs([made, slow, hard])
    first, second, third = cells(page.table(page.lines(page.rows(known))))
    assert (first["T"], first["SNN"]) == ("8, near", "99.20")
    assert (second["T"], second["SNN"]) == ("16", "99.10")
    assert (third["method"], third["T"]) == ("opi", "16")
    counts = energy.of_record(made, 8)
    assert (
        first["float32"] == f"{float(counts.snn(FLOAT32) / counts.ann(FLOAT32)):.2f}"
        and first["additions / MAC"] == "10.00"
        and first["n"] == "1"
    )


def test_findings_count_rows_that_are_near_and_cheaper(make_record):
    """With 10 times the MACs behind the first layer, 400 operations are few; read from a memory not few enough."""
    cheap = make_record(n=100, ann=100, ann_validation=100, T={8: 100})
    cheap["network"] |= {"macs": {"conv": 100, "fc": 400}, "neurons": {"a": 1}}
    dear = make_record(n=100, ann=100, ann_validation=100, T={8: 99}, method="opi")
    far = make_record(n=100, ann=100, ann_validation=100, T={16: 50}, method="max_norm")
    text = page.findings(page.rows(PageInputs([cheap, dear, far])))
    assert text == (
        "- **digits**: 2 of 3 rows of own sources are within 1 point on validation at a simulated T (up to 8 or 16),"
        " and of these need less energy than their ANN: 1 in float32; 1 in int8; 1 in int8, memory, potential held; 0"
        " in int8, memory."
    )
    assert page.findings(page.rows(PageInputs([far]))).endswith(
        "0 of 1 rows of own sources are within 1 point on validation at a simulated T (up to 16)."
    )


def test_imported_weights_have_their_largest_T_and_no_verdict(make_record):
    record = make_record(n=100, ann=100, T={16: 50, 64: 99, 128: 100}, seed=None, official=False)
    assert [x["T"] for x in cells(page.table(page.lines(page.rows(PageInputs([record])))))] == ["16", "128"]
    assert page.findings(page.rows(PageInputs([record]))) == ""
    assert "†" in page.table(page.lines(page.rows(PageInputs([record])))) and "not the official one" in page.page(
        PageInputs([record])
    )


def test_other_methods_have_the_T_that_is_near_and_on_imported_weights_16(make_record):
    near = {"n": 100, "ann": 100, "ann_validation": 100, "method": "ftbc"}
    known = PageInputs([make_record(T={8: 100, 16: 100}, **near), make_record(T={16: 50}, seed=1, **near)])
    assert [line.T for line in page.lines(page.rows(PageInputs(known.records[:1])))] == [8]
    assert [line.T for line in page.lines(page.rows(PageInputs(known.records[1:])))] == []
    assert "1 of 1 rows" in page.findings(page.rows(PageInputs(known.records[:1])))
    assert "0 of 1 rows" in page.findings(page.rows(PageInputs(known.records[1:])))
    imported = make_record(n=100, ann=100, T={16: 50, 32: 99}, seed=None, method="ftbc")
    assert [line.T for line in page.lines(page.rows(PageInputs([imported])))] == [16]


def test_what_not_all_sources_have_and_what_is_the_same_stand_nowhere(make_record):
    two = make_record(T={16: 9}, seed=0), make_record(T={8: 9, 16: 9}, seed=1)
    same = [make_record(T={16: 9}, seed=seed, method="robust_norm") for seed in (0, 1)]
    other = make_record(T={16: 9}, calibration=128)
    (line,) = cells(page.table(page.lines(page.rows(PageInputs([*two, *same, other])))))
    assert (line["method"], line["T"], line["n"]) == ("optimal", "16", "2")


def test_multiply_accumulates_on_padding_are_left_out():
    """A 3 x 3 filter on a map of one pixel has one tap; strides and dilations by hand."""
    for layer, side, taps in [
        (nn.Conv2d(1, 1, 3, padding=1), 1, 1),
        (nn.Conv2d(1, 1, 3, padding=1), 2, 16),
        (nn.Conv2d(1, 1, 3, padding=1, stride=2), 4, (2 + 3) ** 2),
        (nn.Conv2d(1, 1, 3, padding=2, dilation=2), 4, (2 + 2 + 2 + 2) ** 2),
        (nn.Conv2d(1, 1, 3, padding="same"), 2, 16),
        (nn.Conv2d(1, 1, 5, padding="same"), 3, (3 + 3 + 3) ** 2),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), 1, 12),
    ]:
        ann = prepare(nn.Sequential(layer, nn.ReLU(), nn.Flatten()), torch.zeros(1, layer.in_channels, side, side))
        assert list(costs(ann).macs_without_padding.values()) == [taps], layer


def test_a_record_of_a_known_network_leaves_out_what_reads_padding(make_record):
    record = make_record(T={16: 9}, network="digits_plain")
    layers = macs_of("digits", "digits_plain")
    macs, inside = ({name: pair[i] for name, pair in layers.items()} for i in range(2))
    record["network"] |= {"macs": macs, "analog": [next(iter(macs))]}
    counts = energy.of_record(record, 16)
    assert counts.macs == sum(inside.values()) < sum(macs.values())
    assert counts.held == next(iter(inside.values())) < next(iter(macs.values()))
    record["network"]["macs"] = macs | {"unknown": 5}
    assert energy.of_record(record, 16).macs == sum(macs.values()) + 5


def test_every_call_of_a_layer_is_counted():
    class Twice(nn.Module):
        def __init__(self, **_):
            super().__init__()
            self.c, self.a, self.b, self.f = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.ReLU(), nn.Linear(64, 10)

        def forward(self, x):
            return self.f(self.b(self.c(self.a(self.c(x)))).flatten(1))

    price = costs(prepare(Twice(), torch.zeros(1, 1, 8, 8)))
    assert count_macs(Twice(), (1, 8, 8)) == {
        name: (price.macs[name], price.macs_without_padding[name]) for name in price.macs
    }
    assert list(price.macs.values()) == [576, 576, 640]


@pytest.mark.parametrize("network", ["digits_plain", "digits_residual", "test_resnet"])
def test_a_network_is_counted_by_its_name_as_when_it_is_prepared(network):
    ann = prepare(create(network, num_classes=10, in_chans=1), torch.zeros(1, 1, 8, 8))
    price = costs(ann)
    assert macs_of("digits", network) == {
        name: (price.macs[name], price.macs_without_padding[name]) for name in price.macs
    }
    assert 0 < sum(price.macs_without_padding.values()) < sum(price.macs.values())


def test_the_mean_is_over_sources(make_record):
    few, many = (make_record(T={16: 9}, seed=seed) for seed in (0, 1))
    many["network"]["macs"] = {"conv": 600, "fc": 4000}
    many["T"]["16"]["operations"] = {"conv": 3 * few["T"]["16"]["operations"]["conv"]}
    (line,) = page.lines(page.rows(PageInputs([few, many])))
    both = [energy.of_record(r, 16) for r in (few, many)]
    assert float(line.cost(INT8).mean) == sum(x.snn(INT8) / x.ann(INT8) for x in both) / 2


def test_the_page_is_written_where_there_is_something_to_say(make_record, tmp_path):
    assert build.build_pages(tmp_path) == []
    save(make_record(n=100, ann=100, T={16: 90}), tmp_path)
    assert build.build_pages(tmp_path) == [tmp_path / page.NAME] and build.check_pages(tmp_path) == []
