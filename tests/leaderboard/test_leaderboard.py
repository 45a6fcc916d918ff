import csv
from fractions import Fraction
from math import sqrt

import pytest
from matplotlib import rc_context
from matplotlib.text import Text

from ann2snn.cli.output import accuracies
from ann2snn.errors import UserError
from ann2snn.experiments.presets import CLASSIC_METHODS, CLASSIC_VARIANTS
from ann2snn.leaderboard import build, diff, paired
from ann2snn.leaderboard.figures import accuracy, dashboard, style
from ann2snn.leaderboard.figures import methods as methods_figure
from ann2snn.leaderboard.format import escaped
from ann2snn.leaderboard.pages import leaderboard
from ann2snn.leaderboard.rows import sections, steps
from ann2snn.records.job import Job, label
from ann2snn.records.store import load_all, save
from ann2snn.tracking import wandb_runs

RELU = {"network": "plain", "activation": "relu"}


def rows_of(records):
    return [row for section in sections(records) for row in section.rows]


@pytest.fixture
def publish(tmp_path):
    """Saves records below a new folder, and gives the folder."""

    def publish(*records, name="results"):
        for record in records:
            save(record, tmp_path / name)
        return tmp_path / name

    return publish


def table(text, title):
    """The rows, as dicts, of the first Markdown table after `title`."""
    lines = text[text.index(title) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    heads, _, *cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end])
    return [dict(zip(heads, row, strict=True)) for row in cells]


def lines_of(root):
    with open(root / "leaderboard.csv", newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------------- numbers


def test_mean_std_loss_and_distance_by_hand(make_record):
    """Three seeds of 10 images. Threshold ReLU: ANN 9 8 10, SNN 7 8 6; ReLU ANN 10 9 9."""
    records = []
    for seed, ann, snn, relu in [(0, 9, 7, 10), (1, 8, 8, 9), (2, 10, 6, 9)]:
        records.append(make_record(seed=seed, activation="threshold_relu:1", ann=ann, T={8: snn}))
        records.append(make_record(seed=seed, ann=relu, T={8: relu}))
    row = next(row for row in rows_of(records) if row.job.activation != "relu")
    assert row.n == 3 and row.n_test == 10
    expected = {
        "ann": (row.ann, Fraction(9, 10), 0.1),  # 0.9 0.8 1.0
        "accuracy": (row.accuracy(8), Fraction(7, 10), 0.1),  # 0.7 0.8 0.6
        "loss": (row.loss(8), Fraction(2, 10), 0.2),  # 0.2 0.0 0.4
        "distance": (row.distance(8), Fraction(7, 30), sqrt(3 / 225)),  # 0.3 0.1 0.3: deviations 1/15 -2/15 1/15
    }
    for name, (cell, mean, std) in expected.items():
        assert cell.mean == mean, name
        assert cell.std == pytest.approx(std, rel=1e-12), name
    assert row.sampling_error(8) == pytest.approx(sqrt(0.7 * 0.3 / 10), rel=1e-12)
    assert row.per_image(8, "spikes").mean == 4 * 8
    assert row.per_image(8, "operations").mean == 50 * 8
    assert row.per_mac(8) == 50 * 8 / 40  # the convolution reads the image
    assert row.per_mac(16) is row.accuracy(16) is row.loss(16) is row.distance(16) is row.sampling_error(16) is None


def test_a_relu_source_is_its_own_reference_and_a_missing_one_is_none(make_record):
    relu = make_record(ann=9, T={8: 6})
    alone = make_record(ann=9, T={8: 6}, activation="threshold_relu:1", seed=5)
    other_recipe = make_record(ann=9, T={8: 6}, activation="threshold_relu:1", recipe="long-76543210")
    rows = rows_of([relu, alone, other_recipe])
    assert [row.distance(8) and row.distance(8).mean for row in rows if row.job.activation == "relu"] == [
        Fraction(3, 10)
    ]
    assert [row.distance(8) for row in rows if row.job.activation != "relu"] == [None, None]


def test_calibration_seeds_are_averaged_within_a_source(make_record):
    """Seed 0 has 4 and 6 of 10 right, seed 1 has 9: the mean is (0.5 + 0.9) / 2, of n = 2."""
    records = [make_record(seed=0, calibration_seed=c, T={8: right}) for c, right in [(0, 4), (1, 6)]]
    (row,) = rows_of(records)
    assert (row.n, row.accuracy(8).mean, row.accuracy(8).std) == (1, Fraction(1, 2), None)
    (row,) = rows_of([*records, make_record(seed=1, T={8: 9})])
    assert (row.n, row.accuracy(8).mean) == (2, Fraction(7, 10))
    assert row.accuracy(8).std == pytest.approx(sqrt(2 * 0.2**2), rel=1e-12)


def test_imported_weights_are_one_source(make_record):
    (row,) = rows_of([make_record(seed=None, calibration_seed=c, T={8: 10}) for c in range(3)])
    assert (row.n, row.accuracy(8).std, row.smallest_T) == (1, None, None)


def test_rows_differ_in_anything_but_seeds(make_record):
    variants = [{}, {"options": {"reset": "hard"}}, {"calibration": 50}, {"method_version": 2}, {"readout": "spiking"}]
    assert len(rows_of([make_record(seed=seed, **v) for seed in range(2) for v in variants])) == len(variants)


def test_smallest_T_is_chosen_on_validation(make_record):
    """100 images, 90 right by the ANN: on test T = 4 is near already, on validation only T = 16."""
    at = {"n": 100, "ann": 90, "ann_validation": 90}
    records = [
        make_record(**at, seed=0, T={4: 90, 8: 90, 16: 85, 32: 90}, validation={4: 50, 8: 88, 16: 89, 32: 90}),
        make_record(**at, seed=1, T={4: 90, 8: 90, 16: 83, 32: 90}, validation={4: 90, 8: 89, 16: 89, 32: 90}),
    ]
    (row,) = rows_of(records)
    assert row.smallest_T == 16  # exactly one point is within one point
    assert row.accuracy(16).mean == Fraction(84, 100)
    (row,) = rows_of([make_record(**at, T={4: 90}, validation={4: 88})])
    assert row.smallest_T is None


def test_smallest_T_needs_all_seeds(make_record):
    records = [make_record(seed=0, T={4: 9, 8: 9}, ann_validation=9), make_record(seed=1, T={8: 9}, ann_validation=9)]
    assert rows_of(records)[0].smallest_T == 8


def test_best_at_16_comes_first(make_record):
    records = [
        make_record(method=m, T={8: a, 16: b}) for m, a, b in [("opi", 9, 7), ("max_norm", 1, 9), ("optimal", 2, 8)]
    ]
    records.append(make_record(method="robust_norm", T={8: 10}))
    assert [row.job.method for row in rows_of(records)] == ["max_norm", "optimal", "opi", "robust_norm"]


# ------------------------------------------------------------------------------------------------------------ falls


def test_steps_are_paired_by_image_and_adjusted_over_all(make_record):
    """T 2 -> 4 loses images 0..5 of 40 and wins none: p = 2 / 2^6; 4 -> 8 wins one: p = 1. Holm: 2 / 2^6 times 2."""
    record = make_record(n=40, T={8: range(6, 40), 4: range(6, 39), 2: range(39)})
    assert [(s.T, s.lost, s.won, s.p) for s in steps([record])] == [((2, 4), 6, 0, 4 / 64), ((4, 8), 0, 1, 1.0)]


def test_a_significant_fall_is_listed_with_its_seeds(make_record, publish):
    fall = make_record(n=40, T={2: range(40), 4: range(15, 40), 8: range(15, 40)}, seed=2, calibration_seed=7)
    root = publish(fall, make_record(n=40, T={2: 5, 4: 6, 8: 5}))
    build.build(root)
    text = (root / "LEADERBOARD.md").read_text()
    assert "over all 4 pairs" in text
    assert "1 of these pairs fall significantly" in text
    (line,) = table(text, "## Where accuracy falls")
    assert line["seeds (training, calibration)"] == "2, 7" and line["T"] == "2 → 4"
    assert line["accuracy (%)"] == "100.00 → 62.50" and line["images lost / won"] == "15 / 0"
    assert float(line["adjusted p"]) == pytest.approx(4 * 2 / 2**15, rel=0.05)


def test_insignificant_falls_are_one_sentence(make_record, publish):
    # 7 lost of 7: p = 2 / 2^7 = 0.0156; the rise has p = 1; over 5 pairs, 0.078
    root = publish(
        make_record(n=40, T={2: range(40), 4: range(7, 40), 8: range(7, 40)}),
        make_record(n=40, T={1: 3, 2: 4, 4: 5, 8: 5}, seed=1),
    )
    build.build(root)
    text = (root / "LEADERBOARD.md").read_text()
    assert "None of the 5 adjacent-T pairs falls significantly (1 fall; smallest adjusted p = 0.078)." in text


def test_a_significant_rise_is_no_fall(make_record, publish):
    root = publish(make_record(n=40, T={2: 0, 4: 40}))
    build.build(root)
    assert "None of the 1 adjacent-T pairs falls significantly (none falls)." in (root / "LEADERBOARD.md").read_text()


# ------------------------------------------------------------------------------------------------------------- text


def test_markdown_cells(make_record, publish):
    root = publish(
        *(make_record(seed=s, ann=10, T={8: a, 16: b}, ann_validation=9) for s, a, b in [(0, 8, 9), (1, 9, 10)]),
        make_record(seed=0, T={8: 7}, ann=10, options={"reset": "hard"}, ann_validation=9),
        make_record(seed=1, T={16: 7, 256: 8}, ann=10, options={"reset": "hard"}, ann_validation=9),
        make_record(seed=0, T={8: 9}, ann=9, activation="threshold_relu:1", recipe="long-76543210"),
    )
    build.build(root)
    text = (root / "LEADERBOARD.md").read_text()
    soft, hard, threshold = table(text, "Accuracy (%)")
    assert (soft["source"], soft["method"], hard["method"]) == ("relu, short", "optimal", "optimal reset=hard")
    assert (soft["n"], soft["ANN"], soft["T = 8"], soft["T = 16"]) == (
        "2",
        "100.00 ± 0.00",
        "85.00 ± 7.07",
        "95.00 ± 7.07",
    )
    assert soft["T = 1"] == soft["T = 256"] == "not run"
    assert soft["image s.e."] == f"{100 * sqrt(0.95 * 0.05 / 10):.2f}"
    assert soft["T within 1 point"] == "16 (95.00 ± 7.07)"
    assert (hard["T = 8"], hard["T = 256"], hard["T within 1 point"]) == ("70.00 (n = 1)", "80.00 (n = 1)", "> 256")
    assert threshold["ANN"] == "90.00"
    assert table(text, "Loss: ANN")[0]["T = 8"] == "15.00 ± 7.07"
    assert [row["T = 8"] for row in table(text, "Distance: ")] == ["15.00 ± 7.07", "30.00 (n = 1)", "-"]
    assert table(text, "Distance: ")[2]["T = 16"] == "not run"
    assert "10 images are enough to order" in text and "†" not in text


def test_unofficial_data_is_marked(make_record, publish):
    root = publish(make_record(official=False), make_record(data_hash="e" * 64))
    build.build(root)
    text = (root / "LEADERBOARD.md").read_text()
    assert "† Measured on data whose checksum is not the official one." in text
    assert {(row["source"], row["method"]) for row in table(text, "Accuracy (%)")} == {
        ("relu †", f"optimal data_hash={'d' * 24}"),
        ("relu", f"optimal data_hash={'e' * 24}"),
    }
    assert {line["official"] for line in lines_of(root)} == {"True", "False"}


def test_csv_has_every_number(make_record, publish):
    root = publish(*(make_record(seed=s, ann=9, T={8: a, 16: 9}, validation={8: 4}) for s, a in [(0, 6), (1, 8)]))
    build.build(root)
    first, second = lines_of(root)
    assert [first["T"], second["T"], first["n"], first["n_test"], first["options"]] == [
        "8",
        "16",
        "2",
        "10",
        "reset=soft",
    ]
    numbers = {
        "ann_mean": 0.9,
        "ann_std": 0,
        "accuracy_mean": 0.7,
        "accuracy_std": sqrt(0.02),
        "validation_mean": 0.4,
        "validation_std": 0,
        "loss_mean": 0.2,
        "loss_std": sqrt(0.02),
        "distance_mean": 0.2,
        "distance_std": sqrt(0.02),
        "sampling_error": sqrt(0.021),
        "spikes_per_image": 32,
        "operations_per_image": 400,
        "ann_macs_per_image": 640,
    }
    assert {name: float(first[name]) for name in numbers} == pytest.approx(numbers, abs=1e-6)
    # one source: no std, and no reference without a ReLU ANN: empty, not 0
    root = publish(make_record(activation="threshold_relu:1"), name="other")
    build.build(root)
    (line,) = lines_of(root)
    assert line["accuracy_std"] == line["distance_mean"] == line["distance_std"] == "" and line["loss_std"] == ""


def test_no_record_is_a_user_error(tmp_path):
    for function in (build.build, build.check):
        with pytest.raises(UserError, match="no finished record"):
            function(tmp_path)


# ------------------------------------------------------------------------------------------------------------ stale


def test_built_is_fresh_and_the_same_again(make_record, publish):
    root = publish(make_record(), make_record(network="residual"))
    files = {root / name for name in ("LEADERBOARD.md", "leaderboard.csv")}
    names = [f"{begin}digits-{net}" for begin in ("", "dashboard-") for net in ("plain", "residual")]
    files |= {root / "figures" / f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert set(build.check(root)) == files
    assert set(build.build(root)) == files
    before = {path: path.read_bytes() for path in files}
    assert build.check(root) == build.build(root) == []
    for path in files:
        path.unlink()
    build.build(root)
    assert before == {path: path.read_bytes() for path in files}  # no date, no machine


@pytest.mark.parametrize(
    "name",
    [
        "LEADERBOARD.md",
        "leaderboard.csv",
        *(f"figures/{n}digits-plain.{k}" for n in ("", "dashboard-") for k in ("svg", "png")),
    ],
)
def test_an_edited_or_missing_file_is_stale(make_record, publish, name):
    root = publish(make_record())
    build.build(root)
    path = root / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b"data sha256 ", b"data sha256 0") if b"data sha256" in data else data + b" ")
    assert build.check(root) == [path]
    path.unlink()
    assert build.check(root) == [path]
    build.build(root)
    assert path.read_bytes() == data


def test_a_new_record_makes_all_stale_and_a_figure_without_records_goes(make_record, publish):
    root = publish(make_record())
    build.build(root)
    publish(make_record(seed=1, T={8: 7}))
    assert len(build.check(root)) == 6
    build.build(root)
    orphan = root / "figures" / "digits-gone.svg"
    orphan.write_text("")
    assert build.check(root) == [orphan]
    build.build(root)
    assert not orphan.exists()


def test_a_changed_prediction_alone_is_seen(make_record, publish):
    """The same count of right images, other images: only the falls can tell."""
    root = publish(make_record(n=40, T={2: range(20), 4: range(18)}))
    build.build(root)
    publish(make_record(n=40, T={2: range(20), 4: range(20, 38)}))
    assert build.check(root) == [root / "LEADERBOARD.md"]


# ------------------------------------------------------------------------------------------------------ comparison


def test_comparison_is_over_what_both_have(make_record, publish):
    """Committed: seeds 0 and 1, T = 4 8. Today: seed 0 alone, T = 8 16, one more image right."""
    committed = publish(*(make_record(seed=s, T={4: 5, 8: 6 + s}) for s in range(2)))
    today = publish(make_record(seed=0, T={8: 7, 16: 8}), make_record(method="opi"), name="runs")
    (row,) = diff.compare(load_all(today), load_all(committed))
    assert row == ("digits / plain / relu", "optimal", 8, 0.7, 0.6, 0.1)
    assert diff.comparison_table([row]).splitlines() == [
        "digits / plain / relu",
        "                      today         committed      difference",
        "T =                  8   16   32     8   16   32     8   16   32",
        "optimal           70.0    -    -  60.0    -    -   +10    -    -",
        "",
        "0 of 1 cells (all T's) are equal; the largest difference: 10.00 points.",
    ]
    same = diff.comparison_table(diff.compare(load_all(committed), load_all(committed)))
    assert "    =    -    -" in same and "2 of 2 cells" in same
    assert max(map(len, same.splitlines())) <= 80
    far = diff.comparison_table([row._replace(today=1.0, committed=0.0, difference=1.0)])
    assert "optimal            100    -    -   0.0    -    -  +100    -    -" in far.splitlines()
    assert "No result" in diff.comparison_table([])


def test_the_longest_label_of_a_profile_on_the_digits_fits_80_columns():
    longest = max((label(method, options) for method, options in CLASSIC_VARIANTS), key=len)
    row = diff.Compared("digits / digits_plain / relu", longest, 8, 1.0, 0.0, 1.0)
    assert longest == "robust_norm reset=hard"
    assert max(map(len, diff.comparison_table([row]).splitlines())) <= 80


# ----------------------------------------------------------------------------------------------------------- figures


def crossed(make_record):
    """Two seeds, two sources, two resets."""
    return [
        make_record(seed=s, activation=a, options={"reset": r}, T={1: 2 + s, 8: 9})
        for s in range(2)
        for a in ("relu", "threshold_relu:1")
        for r in ("soft", "hard")
    ]


def test_figure_shows_every_curve_and_carries_its_stamp(make_record):
    from ann2snn.leaderboard.figures import accuracy

    records = crossed(make_record)
    records.append(make_record(method="fire_once", options={}, T={8: 9}))
    (section,) = sections(records)
    curves = accuracy.curves(section)
    assert {(c["source"], c["method"], c["reset"]) for c in curves} == {
        *((a, "optimal", r) for a in ("relu", "threshold_relu:1") for r in ("soft", "hard")),
        ("relu", "fire_once", ""),
    }
    assert curves[1]["T"] == {1: [25.0, 7.0711], 8: [90.0, 0.0]}
    files_have_the_stamp_of_their_curves(accuracy, records)


def files_have_the_stamp_of_their_curves(module, records):
    from ann2snn.leaderboard.figures import style

    (section,), (other,) = sections(records), sections(records[1:])
    curves = module.curves(section)
    files, stamp = style.render(module, section, curves), style.stamp(module, section, curves)
    assert files["png"].startswith(b"\x89PNG") and b"<svg" in files["svg"]
    assert all(stamp.encode() in data for data in files.values())
    assert style.stamp(module, other, module.curves(other)) != stamp


def test_panels_show_what_the_dashboard_shows(make_record):
    from ann2snn.leaderboard.figures import dashboard

    records = crossed(make_record)
    (section,) = sections(records)
    relu, threshold = dashboard.curves(section)
    assert (relu["source"], threshold["source"], relu["reset"]) == ("relu", "threshold_relu:1", "soft")
    assert relu["accuracy"] == {1: [25.0, 7.071068], 8: [90.0, 0.0]}
    assert relu["loss"] == {1: [75.0, 7.071068], 8: [10.0, 0.0]}
    assert relu["operations"] == {1: [50.0, 0.0], 8: [400.0, 0.0]}
    assert relu["ms"] == {1: [50.0, 0.0], 8: [50.0, 0.0]}
    assert (relu["ann"], relu["macs"], relu["machines"]) == ([100.0, 0.0], 640, ["a processor, 2 threads"])
    files_have_the_stamp_of_their_curves(dashboard, records)


def test_panels_of_rows_without_reset_spikes_or_equal_grids(make_record):
    from ann2snn.leaderboard.figures import dashboard, style

    silent = make_record(method="fire_once", options={}, T={8: 1})
    silent["T"]["8"]["operations"] = {"conv": 0}
    silent["T"]["8"]["seconds"] = 0.0
    (section,) = sections([silent, make_record(method="other", options={"reset": "hard"}, seed=None, T={2: 5})])
    curves = dashboard.curves(section)
    assert [(c["method"], c["reset"], c["ann"][1]) for c in curves] == [
        ("fire_once", "", None),
        ("other", "hard", None),
    ]
    assert style.render(dashboard, section, curves)["png"].startswith(b"\x89PNG")


def test_markup_in_names_is_shown_as_text(make_record):
    """A name that holds a column, a tag, code or a line break changes no table."""
    hostile = "a|b<script>alert(1)</script>`c`\n# d [e](f)"
    plain = [make_record({8: 9}), make_record({8: 8}, method="opi")]
    assert escaped(plain) == plain
    text = leaderboard.markdown([make_record({8: 9}, network=hostile, method="m|n", recipe=f"{hostile}-01234567")])
    assert "<script>" not in text and "&lt;script&gt;" in text and "\n# d" not in text and "[e](f)" not in text
    assert table(text, "Accuracy (%)")[0]["method"] == "m&#124;n reset=soft"


# ----------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "method, options, text",
    [
        ("optimal", {"reset": "soft"}, "optimal"),
        ("optimal", {"reset": "hard"}, "optimal reset=hard"),
        ("channel_norm", {"start": 0.5, "quantile": 0.999, "reset": "hard"},
         "channel_norm reset=hard quantile=0.999 start=0.5"),
        ("accumulate_then_fire", {"per_channel": False}, "accumulate_then_fire per_channel=False"),
        ("deng_code", {"shift_T": 32, "reset": "soft"}, "deng_code shift_T=32"),
        ("deng_code", {"shift_T": None, "readout": "accumulated"}, "deng_code"),
        ("optimal", {"reset": "soft", "zeta": 1, "eta": None}, "optimal eta=None zeta=1"),
        ("not_here", {"reset": "soft", "b": 2, "a": 1}, "not_here a=1 b=2 reset=soft"),
    ],
)  # fmt: skip
def test_a_label_has_the_options_that_are_no_defaults_in_the_order_of_the_method(method, options, text):
    assert label(method, options) == text


def test_a_record_has_one_label_everywhere(make_record, publish):
    """In tables, figures, comparisons, W&B and what a sweep prints."""
    records = [
        make_record({16: right}, method="mmse", options={"reset": "soft", "error": error, "per_channel": True}, **RELU)
        for error, right in (("round", 9), ("floor", 8))
    ]
    text, job = "mmse error=floor", Job(**records[1]["job"])
    (section,) = sections(records)
    assert [row.job.label for row in section.rows] == [section.method(row) for row in section.rows] == ["mmse", text]
    assert table(leaderboard.markdown(records), "Accuracy (%)")[1]["method"] == text
    assert {curve["method"] for drawer in (accuracy, dashboard) for curve in drawer.curves(section)} == {"mmse", text}
    assert paired.title(records[1]) == f"digits plain relu seed 0: {text}"
    assert diff.compare(records, records)[1].row == text
    assert text in accuracies(records).splitlines()[-1]
    assert wandb_runs._row(job).startswith(f"{text}, digits/plain/relu, ")


def test_a_line_style_says_the_reset_and_the_legend_does_not(make_record):
    (section,) = sections([make_record({16: 9}, options={"reset": reset}, **RELU) for reset in ("soft", "hard")])
    assert [(curve["method"], curve["reset"]) for curve in accuracy.curves(section)] == [
        ("optimal", "hard"),
        ("optimal", "soft"),
    ]


def test_a_dollar_in_a_name_is_no_mathematics(make_record):
    """Of two dollars a name, `a$_b$c` would lose both, and `$\\x$` would end the drawing."""
    records = [make_record({8: 9, 16: 9}, network=r"$\x$", recipe=f"r{k}$-0123456{k}") for k in range(2)]
    (section,) = sections(records)
    for drawer in (accuracy, dashboard):
        drawn = drawer.curves(section)
        assert style.render(drawer, section, drawn)["png"]
    with rc_context(style.STYLE):
        figure = dashboard.draw(section, dashboard.curves(section))
        figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert texts and not any(text.get_parse_math() for text in texts)
    assert [t.get_text() for t in texts if "mathdefault" in t.get_text()] == []  # ticks that are written as mathematics


def test_all_methods_of_a_figure_look_different():
    names = [f"method{i}" for i in range(10)]
    for labels in ([*CLASSIC_METHODS, *names], [*names, "other1", "other2", "other3", "other4"]):
        assert len(set(style.colours_of(labels).values())) == 14
    panels = [names[:5], names[3:8], [names[0], names[4], names[9]]]
    looks = methods_figure.looks_of(panels)
    marks = [(look["marker"], look["color"]) for look in looks.values()]
    assert len(set(marks)) == len(marks) == len({name for panel in panels for name in panel})
    assert all(len({looks[name]["linewidth"] for name in panel}) == len(panel) for panel in panels)
