import pytest

from ann2snn.experiments import profiles
from ann2snn.experiments.presets import VARIANTS
from ann2snn.leaderboard import build
from ann2snn.leaderboard.figures import methods as figure
from ann2snn.leaderboard.figures import style
from ann2snn.leaderboard.pages import findings, method_tables, methods
from ann2snn.leaderboard.paired import paired
from ann2snn.leaderboard.published import Published
from ann2snn.leaderboard.rows import sections
from ann2snn.methods.registry import discover, find
from ann2snn.metrics.significance import holm
from ann2snn.records.store import save
from ann2snn.training.recipes import RECIPES

N = 400


@pytest.fixture
def made(make_record):
    """A record of a variant, right at T = 16 on `right` of N images; the ANN on 380."""

    def make(method, options=None, right=300, T=None, **job):
        options = find(method).options | (options or {})
        job = {"calibration": 1024, "activation": "relu"} | job
        at = {16: right} if T is None else T
        return make_record(n=N, ann=380, ann_validation=380, T=at, method=method, options=options, **job)

    return make


def some(made, **job):
    """Five methods: enough for a table."""
    rows = [("optimal", 300), ("max_norm", 200), ("opi", 301), ("robust_norm", 300), ("channel_norm", 350)]
    return [made(method, right=right, **job) for method, right in rows]


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def test_a_tuned_source_is_compared_with_the_one_that_it_was_trained_on_from(made):
    relu = some(made, recipe=RECIPES["cifar"].key)
    tuned = [*some(made, recipe=RECIPES["tuned"].key, activation="qcfs:4")]
    tuned.append(made("qcfs", right=372, recipe=RECIPES["tuned"].key, activation="qcfs:4"))
    (line,) = (
        x for x in findings.findings(method_tables.tables(relu + tuned)).splitlines() if "Trained quantiser" in x
    )
    assert paired(relu[2], tuned[-1], 16).interval in line
    (line,) = (x for x in findings.findings(method_tables.tables(tuned)).splitlines() if "Trained quantiser" in x)
    assert line.endswith("not run.")


def test_every_variant_is_a_method_with_these_options_and_every_sweep_has_jobs():
    for method, options in VARIANTS:
        assert set(options) <= set(find(method).options), method
    assert len({repr(variant) for variant in VARIANTS}) == len(VARIANTS)
    assert {method for method, _ in VARIANTS} == set(discover()) - {"deng_code"}
    for sweep in profiles.find("matrix"):
        assert all(part.methods for part in sweep.parts())
        for part in sweep.parts():
            assert all(find(method).applies(part.activations[0]) for method, _ in part.methods)


def test_a_table_is_ordered_and_calls_better_after_holm(made):
    records = some(made)
    (table,) = method_tables.tables(records)
    found = cells(method_tables.table_text(table, []))
    assert list(found) == ["channel_norm", "opi", "optimal", "robust_norm", "max_norm"]
    assert [row["T = 16"] for row in found.values()] == ["87.50", "75.25", "75.00", "75.00", "50.00"]
    assert found["channel_norm"]["against `optimal`"].endswith("better")
    assert found["max_norm"]["against `optimal`"].endswith("worse")
    assert found["optimal"]["against `optimal`"] == "-"
    pair = paired(records[0], records[2], 16)
    assert found["opi"]["against `optimal`"] == pair.interval and pair.won == 1
    ps = [paired(records[0], record, 16).p for record in records[1:]]
    assert max(p for p in holm(ps) if p < 0.05) < 0.05 < min(p for p in holm(ps) if p > 0.05)


def test_holm_can_take_a_verdict_back(made):
    """Six images more: p = 0.031 alone, and not among four."""
    rows = [("optimal", 300), ("max_norm", 300), ("opi", 306), ("robust_norm", 300), ("channel_norm", 300)]
    records = [made(method, right=right) for method, right in rows]
    assert 0.03 < paired(records[0], records[2], 16).p < 0.05
    found = cells(method_tables.table_text(method_tables.tables(records)[0], []))
    assert found["opi"]["against `optimal`"] == paired(records[0], records[2], 16).interval


def test_several_seeds_are_tested_one_by_one(made):
    records = some(made, seed=0) + some(made, seed=1)
    records[9] = made("channel_norm", right=300, seed=1)
    (table,) = method_tables.tables(records)
    row = cells(method_tables.table_text(table, []))["channel_norm"]
    assert row["n"] == "2" and row["T = 16"].startswith("81.25 ±")
    assert row["against `optimal`"] == "+12.50 / +0.00, better in 1 of 2"


def test_the_first_calibration_seed_has_the_row(made):
    draws = [made("tpp", right=right, calibration_seed=k, activation="qcfs:4") for k, right in enumerate((310, 90, 80))]
    for records in (draws, draws[::-1]):
        (table,) = method_tables.tables(some(made, activation="qcfs:4") + records)
        row = cells(method_tables.table_text(table, []))["tpp"]
        assert row["against `optimal`"].startswith("+2.50 ±") and row["T = 16"] == "77.50"
    (table,) = method_tables.tables(some(made, activation="qcfs:4") + draws[1:])
    assert "tpp" not in cells(method_tables.table_text(table, []))


def test_the_latest_version_of_a_method_has_the_row_and_not_the_best(made):
    old, new = (made("srp", right=right, method_version=version) for right, version in ((360, 1), (340, 2)))
    for records in ([old, new], [new, old]):
        (table,) = method_tables.tables(some(made) + records)
        assert [row.job.method for row in table.rows][:2] == ["channel_norm", "srp"]
        assert cells(method_tables.table_text(table, []))["srp"]["T = 16"] == "85.00" and len(table.rows) == 6


def test_a_source_that_was_trained_for_a_method_has_a_table_with_any_number_of_them(made):
    few = [made("max_norm", right=200), made("opi", right=301)]
    assert method_tables.tables(few) == []
    trained = [made("tcl", right=340, activation="tcl"), made("opi", right=300, activation="tcl")]
    (table,) = method_tables.tables(few + trained)
    text = method_tables.table_text(table, [])
    assert table.activation == "tcl" and list(cells(text)) == ["tcl", "opi"]
    assert "No row: `qcfs` does not apply" in text and "not run: `optimal`, `max_norm`" in text


def test_two_copies_of_the_data_are_two_tables(made):
    other = some(made, data_hash="e" * 64, official=False)
    first, second = (method_tables.table_text(table, []) for table in method_tables.tables(some(made) + other))
    assert first.startswith("### digits, plain, relu (short)") and "checksum" not in first
    assert second.startswith("### digits †, plain, relu (short)") and "† Measured on data whose checksum" in second


def test_what_is_missing_is_reported(made):
    records = [made("srp", T={8: 340, 16: 345}), *some(made)]
    (table,) = method_tables.tables(records)
    text = method_tables.table_text(table, [])
    row = cells(text)["srp"]
    assert (row["T = 2"], row["T = 4"], row["T = 8"], row["T = 32"]) == ("n/a", "n/a", "85.00", "not run")
    assert "`qcfs` does not apply (it is for sources trained with qcfs)" in text
    lacking = text.splitlines()[-1].partition("; not run: ")[2]
    assert "`channel_norm quantile=0.999 start=0.5`, " in lacking and "`opi reset=soft`" not in lacking


def test_other_calibrations_resets_and_few_methods_stay_out(made):
    assert method_tables.tables(some(made)[:4]) == []
    others = [made("opi", {"reset": "hard"}, right=10), made("opi", right=20, calibration=128)]
    (table,) = method_tables.tables(some(made) + others)
    assert len(table.rows) == 5


def test_columns(made):
    record = made("opi", right=310)
    record["T"]["16"] |= {"latency": 48, "conversion_seconds": 1.25, "operations": {"conv": N * 100}}
    records = [record, *[r for r in some(made) if r["job"]["method"] != "opi"]]
    published = [
        Published("x", 2022, "opi", "own", "digits", "plain", "a net", 90.0, 16, 0, 88.5, "its table", "seen", ""),
        Published("x", 2022, "opi", "own", "digits", "other", "a net", 90.0, 16, 0, 11.1, "its table", "seen", ""),
    ]
    row = cells(method_tables.table_text(method_tables.tables(records)[0], published))["opi"]
    assert (row["latency"], row["calibration"], row["operations / MACs"]) == ("48", "1,024, 1.25 s", "2.50")
    assert row["published, T = 16"] == "88.50 (own)" and row["T within 1 point"] == "> 16"
    (other,) = [r for r in cells(method_tables.table_text(method_tables.tables(records)[0], published)).values()
                if r["method"] == "optimal"]  # fmt: skip
    assert other["latency"] == "16" and other["published, T = 16"] == "-"
    without = method_tables.table_text(method_tables.tables(records)[0], published[1:])
    assert "There is no known published number of these methods" in without
    assert cells(without)["opi"] == {k: v for k, v in row.items() if k != "published, T = 16"}


def test_findings_name_number_interval_and_source(made):
    text = findings.findings(method_tables.tables(some(made)))
    pair = paired(made("max_norm", right=200), made("opi", right=301), 16)
    what = "**Start potential** (membranes that start at V/2, instead of 0; `opi` - `max_norm`)"
    assert f"{what}: on digits" in text
    assert f"on digits, plain, relu (short) {pair.interval} at T = 16." in text
    assert text.count("not run") == 5 and text.count("\n") == 6
    both = [made(m, right=r, T={4: early, 16: r}) for m, r, early in (("max_norm", 200, 50), ("opi", 301, 250))]
    rest = [record for record in some(made) if record["job"]["method"] not in ("max_norm", "opi")]
    text = findings.findings(method_tables.tables(both + rest))
    assert f"{pair.interval} at T = 16 and {paired(*both, 4).interval} at T = 4." in text
    several = some(made, seed=0) + some(made, seed=1)
    assert "(short) +25.25 / +25.25 at T = 16." in findings.findings(method_tables.tables(several))


def test_what_makes_it_worse_comes_first_then_the_largest_effect(made):
    def order(right):
        records = [*some(made), made("mmse", {"error": "round"}, right=right)]
        titles = [line.split("**")[1] for line in findings.findings(method_tables.tables(records)).splitlines()]
        return [title for title in titles if title in (thresholds, start)]

    thresholds, start = "Thresholds", "Start potential"
    assert order(right=270) == [thresholds, start]  # 30 of 400 images fewer, surely worse
    assert order(right=299) == [start, thresholds]  # one image fewer
    assert order(right=390) == [start, thresholds]  # 22.5 points, less than 25.25


def test_a_trained_source_is_compared_with_the_relu_source_and_else_left_out(made):
    trained = some(made, activation="qcfs:4") + [made("qcfs", right=372, activation="qcfs:4")]
    records = some(made) + trained
    lines = findings.findings(method_tables.tables(records)).splitlines()
    (line,) = (line for line in lines if "Trained quantiser" in line)
    interval = paired(records[2], trained[-1], 16).interval
    assert f"qcfs:4 (short) {interval} at T = 16 (the ANNs themselves differ by +0.00)." in line
    assert not any("qcfs:4" in other for other in lines if other is not line)


def test_trained_clipping_is_compared_with_the_relu_source_as_both_start_empty(made):
    tcl = made("tcl", right=340, activation="tcl")
    relu = some(made)
    (line,) = (x for x in findings.findings(method_tables.tables([*relu, tcl])).splitlines() if "Trained clipping" in x)
    assert f"`tcl` - `max_norm`): on digits, plain, tcl (short) {paired(relu[1], tcl, 16).interval} at T = 16" in line


def test_every_source_has_a_line(made):
    trained = some(made, activation="qcfs:4") + [made("qcfs", right=372, activation="qcfs:4")]
    waiting = made("accumulate_then_fire", {"per_channel": False}, right=310)
    waiting["T"]["16"]["latency"] = 320
    found = cells(findings.on_every_source(method_tables.tables([*some(made), waiting, *trained])))
    assert list(found) == ["shift", "start potential", "trained quantiser", "accumulate-then-fire"]
    assert found["accumulate-then-fire"]["latency, T = 16"] == "320" and found["shift"]["latency, T = 16"] == ""
    assert (
        found["trained quantiser"]["difference of the ANNs"] == "+0.00"
        and found["shift"]["difference of the ANNs"] == ""
    )
    assert found["shift"]["T = 16"].startswith("+25.00 ±") and found["shift"]["T = 4"] == "-"


def test_the_ann_gap_is_of_the_seeds_that_are_compared(made):
    relu = some(made, seed=0) + some(made, seed=1)
    for record in relu[5:]:
        record["ann"]["test"]["correct"] -= 20
    trained = some(made, seed=0, activation="qcfs:4") + [made("qcfs", right=320, seed=0, activation="qcfs:4")]
    assert "(the ANNs themselves differ by +0.00)" in findings.findings(method_tables.tables(relu + trained))


def test_how_much_picking_by_test_accuracy_gains(made):
    usual = find("ftbc").options["updates"]
    runs = [
        made("ftbc", {"updates": k}, right=right) for k, right in ((usual, 300), (usual + 1, 310), (usual + 2, 305))
    ]
    records = some(made) + runs
    text = findings.chosen_on_test(method_tables.tables(records), records)
    assert f"the best of 3 has {usual + 1} updates and 77.50 %, 2.50 points above that of its {usual}." in text
    (table,) = method_tables.tables(records)
    assert len([row for row in table.rows if row.job.method == "ftbc"]) == 1
    assert findings.chosen_on_test(method_tables.tables(some(made)), some(made)) == "Not run."


def test_other_calibrations_stand_beside_the_default(made):
    records = some(made) + [
        made("opi", right=310, calibration=128),
        made("opi", right=295, calibration_seed=2),
        made("opi", right=10, calibration=128, activation="threshold_relu:1"),
        made("permute", right=320, calibration_seed=1),
    ]
    text = findings.other_calibrations(method_tables.tables(records), records)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    shown = [["opi", "128", "0", "77.50"], ["opi", "1,024", "2", "73.75"], ["permute", "1,024", "1", "80.00"]]
    assert [row[1:5] for row in rows] == shown and rows[2][5] == "not run"
    assert rows[0][5] == paired(records[2], records[5], 16).interval
    assert findings.other_calibrations(method_tables.tables(some(made)), some(made)) == "Not run."


def test_the_page_is_written_and_checked(made, tmp_path):
    for record in some(made)[:4]:
        save(record, tmp_path)
    assert build.build_pages(tmp_path) == [tmp_path / "ENERGY.md"] and not (tmp_path / "METHODS.md").exists()
    save(some(made)[4], tmp_path)
    assert tmp_path / "METHODS.md" in build.check_pages(tmp_path) == build.build_pages(tmp_path)
    assert build.check_pages(tmp_path) == []
    save(made("spike_norm"), tmp_path)
    assert tmp_path / "METHODS.md" in build.check_pages(tmp_path)


def test_quantisers_against_starts(made):
    records = [
        made("qcfs", {"start": start}, right=300 + 10 * k + round(2 * start), activation=kind)
        for k, kind in enumerate(("qcfs:4:floor", "qcfs:4", "qcfs:4:ceil"))
        for start in (0.0, 0.5, 1.0)
    ]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in findings.quantisers(records).splitlines()[2:]]
    assert [(row[1], row[4]) for row in rows] == [(q, s) for q in ("floor", "round", "ceil") for s in ("0", "V/2", "V")]
    assert [row[9] for row in rows][:4] == ["75.00", "75.25", "75.50", "77.50"] and rows[0][5] == "not run"
    assert findings.quantisers(records[:6]) == "Not run."
    others = [made("qcfs", {"start": 0.25}, activation="qcfs:4"), made("qcfs", {"reset": "hard"}, activation="qcfs:4")]
    assert findings.quantisers([*records, *others]) == findings.quantisers(records)


def test_every_method_is_described_in_a_sentence():
    lines = methods.method_list().splitlines()[2:]
    assert len(lines) == len({method for method, _ in VARIANTS})
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(len(cell) > 5 for _, paper, _, *told in cells for cell in (paper, *told))
    assert {sources for _, _, sources, *_ in cells} == {"relu", "threshold_relu", "qcfs", "tcl", "slip_relu"}


def test_the_figure(made, tmp_path):
    records = some(made)
    (section,) = sections(records)
    assert next(curve["method"] for curve in figure.curves(section)).startswith("channel_norm")
    assert not figure.curves(sections(records[:4])[0])
    records.append(made("accumulate_then_fire", {"per_channel": False}, right=370))
    (section,) = sections(records)
    assert [curve["reference"] for curve in figure.curves(section)] == [True, *[False] * 5]
    for record in records:
        save(record, tmp_path)
    build.build(tmp_path)
    assert (tmp_path / "figures" / "methods-digits-plain.png").exists()
    assert build.check(tmp_path) == []
    records[0] = made("optimal", right=299)
    (changed,) = sections(records)
    stamps = {style.stamp(figure, section, figure.curves(section)) for section in (section, changed)}
    assert len(stamps) == 2


def test_sources_of_two_recipes_have_a_panel_each(made):
    public = some(made, recipe="akamaster-12fca82f", seed=None)
    (section,) = sections([*public, *some(made)[:4]])
    assert {curve["source"] for curve in figure.curves(section)} == {"relu, akamaster"}  # of the other there are four
    (section,) = sections([*public, *some(made)])
    drawn = [(curve["source"], curve["method"], curve["n"]) for curve in figure.curves(section)]
    assert len(set(drawn)) == 10 and {source for source, *_ in drawn} == {"relu, akamaster", "relu, short"}


def test_methods_of_one_panel_have_different_colours():
    panels = [list("abcde"), list("abcfg"), list("abhij")]
    looks = figure.looks_of(panels)
    assert all(len({looks[name]["color"] for name in panel}) == 5 for panel in panels)
    assert len({(look["marker"], look["color"]) for look in looks.values()}) == len(looks) == 10
    assert {look["marker"] for look in figure.looks_of([list("abcdef")]).values()} == {"o", "s"}  # a colour comes again


def test_short_tables_and_figures_show_the_main_sources(made):
    activations = ("relu", "threshold_relu:1", "threshold_relu:2", "qcfs:4")
    (section,) = sections([made("optimal", activation=activation) for activation in activations])
    assert [row.job.activation for row in section.summary_rows] == ["threshold_relu:1", "relu"]
    (section,) = sections([made("optimal", activation=activation, dataset="cifar100") for activation in activations])
    assert [row.job.activation for row in section.summary_rows] == ["threshold_relu:2", "relu"]
    (section,) = sections([made("optimal", activation=activation, dataset="of_a_user") for activation in activations])
    assert len(section.summary_rows) == 4
    (section,) = sections([made("optimal", activation="qcfs:4")])
    assert len(section.summary_rows) == 1


def test_conventions_and_budgets_are_no_main_rows_and_the_defaults_are_not_named(made):
    records = [made("optimal"), made("optimal", calibration=128), made("deng_code"),
               made("optimal", calibration_transform="crop_flip")]  # fmt: skip
    (section,) = sections(records)
    (main,) = section.summary_rows
    assert section.method(main) == "optimal"
    told = {section.method(row) for row in section.rows if row.job.method == "optimal"}
    assert told == {"optimal", "optimal calibration=128", "optimal calibration_transform=crop_flip"}


def test_short_tables_and_figures_show_the_main_methods(made):
    (section,) = sections(some(made))
    assert len(section.summary_rows) == 5
    records = [*some(made), made("mmse"), made("ltb")]
    (section,) = sections(records)
    assert {row.job.method for row in section.summary_rows} == {"optimal", "max_norm", "robust_norm", "opi"}
