import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from refstis.anneal.display import graph_svg, print_plan, summary
from refstis.anneal.exposures import Exclusion, signature_of
from refstis.anneal.ledger import Mark, ProductRecord
from refstis.anneal.plan import build_plan, compare_with_products
from refstis.anneal.policy import load_profile
from refstis.anneal.runner import Choice, Result
from refstis.anneal.table import Anneal, AnnealTable, shipped_table
from refstis.datamodels.checksums import checksum_of
from refstis.errors import ConfigurationError

MONTH = 56428.790812824074
NAME = "13134_26"


def plan(exposures, table=None, output="/out", profile="heritage", **options):
    table = shipped_table() if table is None else table
    return build_plan(exposures, table, load_profile(profile), output, **options)


def products(made):
    """Path below the month's folder to reason, of all but the single darks."""
    return {
        node.identity.partition("/")[2]: node.reason for node in made.nodes.values() if node.kind != "biassub"
    }


def test_a_month_in_the_documented_folders_with_its_reasons(month_of_exposures):
    # 24.36 days: three weeks, two times two weeks.
    made = plan(month_of_exposures(biases=(104, 61, 130)))
    assert [one.month.name for one in made.months] == [NAME]
    assert products(made) == {
        "basebias.fits": "basebias of 1-1x1, 295 imsets of 38 biases",
        "biases/1-1x1/wk01/weekbias_13134_26_wk01_bia.fits": "refbias, 104 imsets >= 98",
        "biases/1-1x1/wk02/weekbias_13134_26_wk02_bia.fits": "weekbias on basebias, 61 imsets < 98",
        "biases/1-1x1/wk03/weekbias_13134_26_wk03_bia_grp01.fits": "refbias, sub-list 1 of 2, 66 imsets",
        "biases/1-1x1/wk03/weekbias_13134_26_wk03_bia_grp02.fits": "refbias, sub-list 2 of 2, 64 imsets",
        "biases/1-1x1/wk03/weekbias_13134_26_wk03_bia.fits": "refaver of two refbiases, 130 imsets > 120",
        "biases/4-1x1/biwk01/weekbias_13134_26_biwk01_bia.fits": "refbias, 8 imsets >= 1",
        "biases/4-1x1/biwk02/weekbias_13134_26_biwk02_bia.fits": "refbias, 8 imsets >= 1",
        "basedark_13134_26.fits": "basedark, 48 imsets of all 48 darks of the month",
        "darks/wk01/weekdark_13134_26_wk01_drk.fits": "weekdark, 16 imsets of 16 darks on the month's basedark",
        "darks/wk02/weekdark_13134_26_wk02_drk.fits": "weekdark, 16 imsets of 16 darks on the month's basedark",
        "darks/wk03/weekdark_13134_26_wk03_drk.fits": "weekdark, 16 imsets of 16 darks on the month's basedark",
    }
    assert made.missing == []
    assert made.exclusions == []
    assert not any(node.cautions or node.provisional for node in made.nodes.values())
    node = made.nodes[f"{NAME}/biases/1-1x1/wk03/weekbias_13134_26_wk03_bia.fits"]
    assert (node.kind, len(node.parents), node.exposures) == ("refaver", 2, [])
    halves = [made.nodes[parent] for parent in node.parents]
    order = [one.name for one in sorted(month_of_exposures(biases=(104, 61, 130)), key=lambda one: one.order)]
    week = [name for name in order if name.startswith("ob2")]
    assert [[one.name for one in half.inputs] for half in halves] == [week[0::2], week[1::2]]


def test_every_dark_is_subtracted_once_with_its_weeks_superbias(month_of_exposures):
    made = plan(month_of_exposures())
    subtracted = [node for node in made.nodes.values() if node.kind == "biassub"]
    assert len({node.inputs[0].name for node in subtracted}) == len(subtracted) == 48
    for node in subtracted:
        week = node.period.name
        assert node.identity == f"{NAME}/darks/{week}/{node.inputs[0].name.replace('_raw', '_flt')}"
        assert node.inputs[1].node == f"{NAME}/biases/1-1x1/{week}/weekbias_{NAME}_{week}_bia.fits"
    basedark = made.nodes[f"{NAME}/basedark_{NAME}.fits"]
    assert basedark.parents == [node.identity for node in subtracted]


def test_a_node_stands_after_what_it_is_made_of(month_of_exposures):
    made = plan(month_of_exposures(biases=(130, 61, 20)))
    seen = set()
    for identity, node in made.nodes.items():
        assert set(node.parents) <= seen
        seen.add(identity)
    dependents = made.dependents()
    assert all(
        identity in made.nodes[child].parents
        for identity, children in dependents.items()
        for child in children
    )
    assert len(dependents[f"{NAME}/basebias.fits"]) == 2


THRESHOLDS = [
    # gain, xbin, ybin, imsets, kind: the table of thresholds at and just below each.
    (1, 1, 1, 98, "refbias"), (1, 1, 1, 97, "weekbias"), (1, 1, 2, 25, "refbias"), (1, 1, 2, 24, "weekbias"),
    (1, 2, 1, 25, "refbias"), (1, 2, 1, 24, "weekbias"), (1, 2, 2, 7, "refbias"), (1, 2, 2, 6, "weekbias"),
    (1, 4, 1, 7, "refbias"), (1, 4, 1, 6, "weekbias"), (1, 4, 2, 4, "refbias"), (1, 4, 2, 3, "weekbias"),
    (4, 1, 1, 2, "refbias"), (1, 1, 1, 120, "refbias"), (1, 1, 1, 121, "refaver"),
]  # fmt: skip


@pytest.mark.parametrize(("gain", "xbin", "ybin", "imsets", "kind"), THRESHOLDS)
def test_thresholds_by_mode(exposure, gain, xbin, ybin, imsets, kind):
    sizes = [2] * (imsets // 2 - imsets % 2) + [3] * (imsets % 2)
    made = plan(
        exposure(f"o{number:03d}", "BIAS", MONTH + 1 + number / 100, size, gain=gain, xbin=xbin, ybin=ybin)
        for number, size in enumerate(sizes)
    )
    assert sum(sizes) == imsets
    superbiases = [node for node in made.nodes.values() if node.name.endswith("_bia.fits")]
    assert [node.kind for node in superbiases] == [kind]
    label = f"{gain}-{xbin}x{ybin}"
    week = "wk01" if label == "1-1x1" else "biwk01"
    assert superbiases[0].identity.startswith(f"{NAME}/biases/{label}/{week}/weekbias_{NAME}_{week}")
    bases = [node for node in made.nodes.values() if node.kind == "basebias"]
    assert bool(bases) == (kind == "weekbias" or label == "1-1x1")
    if kind == "weekbias":
        assert superbiases[0].parents == [bases[0].identity]
        assert [one.name for one in bases[0].inputs] == [one.name for one in superbiases[0].exposures]


def test_single_imsets_do_not_enter_a_basebias(exposure):
    made = plan(
        [exposure("o1", imsets=1), exposure("o2", imsets=1, begin=MONTH + 2), exposure("o3", imsets=3)]
    )
    base = made.nodes[f"{NAME}/basebias.fits"]
    assert [one.name for one in base.inputs] == ["o3_raw.fits"]
    assert base.reason.endswith("2 with a single imset left out")
    made = plan([exposure("o1", imsets=1), exposure("o2", imsets=1, begin=MONTH + 2)])
    assert made.nodes == {}
    assert [str(one) for one in made.missing] == [
        "month 1-1x1: no basebias: no bias with more than one imset",
        "wk01 1-1x1: no weekbias: 2 imsets < 98, and there is no basebias of 1-1x1",
        "wk02 1-1x1: no superbias: no biases",
        "wk03 1-1x1: no superbias: no biases",
    ]


def test_a_dark_week_without_superbias_uses_the_basebias(month_of_exposures):
    made = plan(one for one in month_of_exposures() if not one.name.startswith("ob1"))
    nodes = [node for node in made.nodes.values() if node.kind == "biassub" and node.period.name == "wk02"]
    assert {node.reason for node in nodes} == {"basebias: there is no superbias of wk02"}
    assert {node.inputs[1].name for node in nodes} == {"basebias.fits"}
    weekdark = made.nodes[f"{NAME}/darks/wk02/weekdark_{NAME}_wk02_drk.fits"]
    assert "bias-subtracted with the basebias: there is no superbias of wk02" in weekdark.cautions
    assert "wk02 1-1x1: no superbias: no biases" in [str(one) for one in made.missing]


def test_darks_without_any_bias_make_nothing_and_say_why(month_of_exposures):
    made = plan(one for one in month_of_exposures() if one.target == "DARK")
    assert made.nodes == {}
    assert [str(one) for one in made.missing] == [
        *(f"wk0{n}: no weekdark: no superbias and no basebias to subtract from 16 darks" for n in (1, 2, 3)),
        "month: no basedark: no usable darks",
    ]


def test_an_empty_week_makes_no_product(month_of_exposures):
    made = plan(one for one in month_of_exposures() if one.target == "BIAS" or one.begin < MONTH + 16)
    assert [str(one) for one in made.missing] == ["wk03: no weekdark: no darks"]
    assert f"{NAME}/darks/wk02/weekdark_{NAME}_wk02_drk.fits" in made.nodes


def test_a_week_with_one_dark_makes_no_weekdark(month_of_exposures, exposure):
    darks = [exposure("od1", "DARK", MONTH + 1, 1), exposure("od2", "DARK", MONTH + 10, 2)]
    made = plan([*(one for one in month_of_exposures() if one.target == "BIAS"), *darks])
    assert "wk01: no weekdark: 1 imset, at least 2 are needed" in [str(one) for one in made.missing]
    assert made.nodes[f"{NAME}/basedark_{NAME}.fits"].imsets == 3


def test_groups_agree_and_the_odd_ones_are_named(month_of_exposures):
    members = month_of_exposures()
    members[3] = replace(members[3], offset=2)
    members[-1] = replace(members[-1], size=(62, 44))
    made = plan(members)
    assert sorted(str(one) for one in made.exclusions) == [
        f"{members[3].name} left out: CCDOFFST 2, its group has 3",
        f"{members[-1].name} left out: size (62, 44), its group has (1062, 1044)",
    ]
    used = {one.name for node in made.nodes.values() for one in node.exposures}
    assert not used & {members[3].name, members[-1].name}


def test_darks_do_not_take_a_superbias_of_another_offset(month_of_exposures):
    made = plan(replace(one, offset=5) if one.target == "DARK" else one for one in month_of_exposures())
    assert not any(node.kind == "biassub" for node in made.nodes.values())
    assert any("no superbias" in one.reason for one in made.missing)


# ------------------------------------------------------------------ bad exposures


def test_a_broken_raw_is_named_where_it_is_missed(month_of_exposures):
    members = month_of_exposures()
    dark = next(n for n, one in enumerate(members) if one.target == "DARK" and one.begin > MONTH + 9)
    members[dark] = replace(members[dark], fault="truncated: 5 bytes, at least 9 expected")
    made = plan(members)
    missed = {node.name for node in made.nodes.values() if node.cautions}
    assert missed == {f"basedark_{NAME}.fits", f"weekdark_{NAME}_wk02_drk.fits"}
    (caution,) = made.nodes[f"{NAME}/basedark_{NAME}.fits"].cautions
    assert (
        caution
        == f"made without {members[dark].name}: truncated: 5 bytes, at least 9 expected; replace the file"
    )
    assert [one.fault for one in made.exclusions] == [True]
    node = made.nodes[f"{NAME}/darks/wk02/weekdark_{NAME}_wk02_drk.fits"]
    assert [one.name for one in node.exclusions] == [members[dark].name]


def test_a_broken_bias_is_missed_in_its_mode_only(month_of_exposures):
    members = month_of_exposures()
    members[0] = replace(members[0], flags=("IMSET_OK of imset 1 is F",))
    made = plan(members)
    missed = {node.name for node in made.nodes.values() if node.cautions}
    assert missed == {"basebias.fits", f"weekbias_{NAME}_wk01_bia.fits"}


def test_an_unreadable_file_may_have_belonged_where_its_visit_is(month_of_exposures):
    gone = Exclusion("od0099q_raw.fits", "cannot be read: Input/output error", True, "/raws/x", "od0099q")
    made = plan(month_of_exposures(), unreadable=[gone])
    missed = {node.kind for node in made.nodes.values() if node.cautions}
    assert missed == {"basedark", "weekdark"}
    assert all("which may belong here" in text for node in made.nodes.values() for text in node.cautions)
    assert made.exclusions == [gone]


def test_a_deviating_exposure_is_a_caution_of_what_it_goes_into(month_of_exposures):
    members = [replace(one, level=(1480.0,) * one.imsets) for one in month_of_exposures()]
    members[0] = replace(members[0], level=(1580.0,) * members[0].imsets)
    made = plan(members)
    assert {node.name for node in made.nodes.values() if node.cautions} == {
        "basebias.fits", f"weekbias_{NAME}_wk01_bia.fits",
    }  # fmt: skip
    (caution,) = made.nodes[f"{NAME}/basebias.fits"].cautions
    assert caution == f"{members[0].name}: bias level 1580.0 DN, its group has 1480.0 and 10.0 is allowed"


def test_limits_may_exclude(month_of_exposures, tmp_path):
    (tmp_path / "policy.yaml").write_text("screening: {level: {action: exclude}}\n")
    members = [replace(one, level=(1480.0,) * one.imsets) for one in month_of_exposures()]
    members[0] = replace(members[0], level=(1580.0,) * members[0].imsets)
    made = plan(members, profile=str(tmp_path))
    assert [one.name for one in made.exclusions] == [members[0].name]
    assert members[0].name not in {one.name for node in made.nodes.values() for one in node.exposures}
    assert {node.name for node in made.nodes.values() if node.exclusions} == {
        "basebias.fits", f"weekbias_{NAME}_wk01_bia.fits",
    }  # fmt: skip


def test_what_is_marked_bad_is_left_out_visibly(month_of_exposures):
    members = month_of_exposures()
    marks = {members[0].rootname: Mark(members[0].rootname, True, "satellite"), "x": Mark("x", False, "")}
    made = plan(members, marks=marks)
    assert [str(one) for one in made.exclusions] == [f"{members[0].name} left out: marked bad: satellite"]
    marks[members[0].rootname] = Mark(members[0].rootname, False, "was none")
    assert plan(members, marks=marks).exclusions == []


def test_what_could_not_be_made_is_planned_around(month_of_exposures):
    members = month_of_exposures()
    failed = f"{NAME}/biases/1-1x1/wk01/weekbias_{NAME}_wk01_bia.fits"
    made = plan(members, unavailable={failed: "the disk was full"})
    assert failed not in made.nodes
    assert "wk01: no refbias: the disk was full" in [str(one) for one in made.missing]
    reasons = {
        node.reason for node in made.nodes.values() if node.kind == "biassub" and node.period.name == "wk01"
    }
    assert reasons == {"basebias: there is no superbias of wk01"}
    made = plan(members, unavailable={f"{NAME}/basedark_{NAME}.fits": "no memory"})
    assert not any(node.kind == "weekdark" for node in made.nodes.values())


# ------------------------------------------------------------------ months


def test_exposures_during_an_anneal_are_named(exposure):
    made = plan([exposure("o1", begin=56428.5), exposure("o2"), exposure("o3", begin=MONTH + 2)])
    assert [str(one) for one in made.exclusions] == [
        "o1_raw.fits left out: taken during the anneal (2013-05-16T00:02:46 to 2013-05-16T18:58:46)"
    ]


def test_a_month_is_chosen_by_name_date_or_calendar_month(month_of_exposures):
    members = month_of_exposures(start="oa") + month_of_exposures(begin=56453.94, start="ob")
    assert [one.month.name for one in plan(members).months] == [NAME, "13134_29"]
    for text, names in [
        ("13134_29", ["13134_29"]), ("2013-05", [NAME]), ("2013-06", ["13134_29"]), ("2013-06-05", [NAME]),
    ]:  # fmt: skip
        assert [one.month.name for one in plan(members, month=text).months] == names
    for text in ("2013-07", "13134_99", "x"):
        with pytest.raises(ConfigurationError, match=r"there are 13134_26 .from 2013-05-16.*13134_29"):
            plan(members, month=text)


def test_dates_cut_a_month_and_say_so(month_of_exposures):
    # Later than that are 32 darks, 8 and 4 files of gain-1 biases of the other weeks, and 3 of gain 4.
    made = plan(month_of_exposures(), dates=(MONTH, MONTH + 8))
    assert made.months[0].cautions == ["the dates leave out 47 exposures of this month"]
    assert {node.period.name for node in made.nodes.values()} == {"month", "wk01", "biwk01"}
    assert [one.name for one in made.months[0].periods["WK"]] == ["wk01", "wk02", "wk03"]


def test_a_month_after_the_last_anneal_is_provisional(month_of_exposures):
    table = AnnealTable([Anneal(56428.0, MONTH, "13134", "23")])
    made = plan(month_of_exposures(), table)
    (one,) = made.months
    assert one.month.name == "anneal_20130516_open"
    assert one.cautions == ["the table's last anneal opened this month: its products are provisional"]
    assert all(node.provisional for node in made.nodes.values())


@pytest.mark.parametrize("begin", [MONTH + 100, MONTH - 400])
def test_data_far_from_the_table_are_one_month_with_a_caution(month_of_exposures, begin):
    table = AnnealTable([Anneal(56428.0, MONTH, "13134", "23")])
    (one,) = plan(month_of_exposures(begin=begin), table).months
    assert one.month.name.startswith("data_201")
    assert one.cautions == [
        "outside the anneal table: taken as one month, whether or not an anneal divides it"
    ]


def test_data_just_before_the_table_are_one_month(month_of_exposures):
    (one,) = plan(month_of_exposures(), AnnealTable([Anneal(MONTH + 26, None, "13134", "26")])).months
    assert one.month.name == NAME
    assert one.cautions == ["before the table's first anneal: taken as one month"]
    assert one.end == MONTH + 26


def test_more_than_45_days_outside_the_table_are_refused_with_the_remedy(month_of_exposures):
    table = AnnealTable([Anneal(50000.0)])
    members = month_of_exposures(days=46)
    with pytest.raises(
        ConfigurationError, match=r"at most 45 days .* --anneals FILE, or choose some days with --dates"
    ):
        plan(members, table)
    assert plan(members, table, dates=(MONTH, MONTH + 40)).nodes
    # Beside a month that can be planned they are left out by name, and the run fails.
    table = AnnealTable([Anneal(MONTH - 30), Anneal(MONTH - 0.5)])
    made = plan([*month_of_exposures(start="oa", begin=MONTH - 29), *members], table)
    assert [one.month.name for one in made.months] == ["anneal_20130516"]
    assert len(made.exclusions) == len(members)
    (remedy,) = made.refused
    assert "--anneals FILE" in remedy
    assert Result("", made).exit_status == 1
    printed = io.StringIO()
    print_plan(made, Console(file=printed, width=200))
    assert f"REFUSED {remedy}" in printed.getvalue()
    # nobody asked for those of another month
    assert (
        plan([*month_of_exposures(start="oa", begin=MONTH - 29), *members], table, month="2013-04").refused
        == []
    )


def test_without_a_table_the_data_are_the_month(month_of_exposures):
    (one,) = plan(month_of_exposures(), AnnealTable([])).months
    assert one.month.name == "data_20130517"


@pytest.mark.parametrize(
    ("days", "periods", "reason"),
    [
        (3, 1, "3 days: shorter"),
        (10.5, 1, "10 days: too long"),
        (11.9, 1, "11 days: too long"),
        (9.5, 1, "9 days in 1"),
    ],
)
def test_short_months_are_one_period_with_the_reason(month_of_exposures, days, periods, reason):
    table = AnnealTable([Anneal(MONTH), Anneal(MONTH + days)])
    made = plan(month_of_exposures(days=int(days), biases=(104,), gain4=1), table)
    assert len(made.months[0].periods["WK"]) == periods
    assert made.months[0].periods["WK"][0].reason.startswith(reason)
    refbias = next(
        node for node in made.nodes.values() if node.kind == "refbias" and "1-1x1" in node.identity
    )
    assert ("so one period" in refbias.reason) == ("days:" in reason)


anneals = st.lists(st.tuples(st.floats(1, 84), st.floats(0, 2)), min_size=1, max_size=5)
taken = st.lists(
    st.tuples(
        st.floats(-50, 250), st.sampled_from(["BIAS", "DARK"]), st.sampled_from([1, 4]), st.integers(1, 40)
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(gaps=anneals, exposures=taken)
def test_no_exposure_is_lost_none_is_used_twice_and_none_crosses_an_anneal(gaps, exposures, exposure):
    rows, last = [], MONTH
    for gap, length in gaps:
        rows.append(Anneal(last + gap, last + gap + length))
        last = rows[-1].last
    table = AnnealTable(rows)
    members = [
        exposure(f"o{number:05d}", target, MONTH + when, imsets, gain=gain)
        for number, (when, target, gain, imsets) in enumerate(exposures)
    ]
    try:
        made = plan(members, table)
    except ConfigurationError:
        assert members
        return
    excluded = Counter(one.name for one in made.exclusions)
    assert set(excluded.values()) <= {1}
    homes = Counter()
    for one in made.months:
        for week in one.periods.values():
            assert week[0].begin == one.begin
            assert week[-1].end == one.end
        inside = [
            member for member in members if member.name not in excluded and one.begin <= member.begin
            and (member.begin < one.end or (one.month.closing is None and member.begin == one.end))
        ]  # fmt: skip
        homes.update(member.name for member in inside)
        nodes = [node for node in made.nodes.values() if node.month == one.month.name]
        by_name = {member.name: member for member in inside}
        weekly = Counter()
        for node in nodes:
            assert {used.name for used in node.exposures} <= set(by_name)
            if node.kind in ("refbias", "weekbias", "biassub"):
                weekly.update(used.name for used in node.exposures)
                for used in node.exposures:
                    begin = by_name[used.name].begin
                    assert node.period.begin <= begin <= node.period.end
        assert set(weekly.values()) <= {1}
        # What no product is made of has a reason in words.
        for member in inside:
            if weekly[member.name] == 0:
                assert any(missing.month == one.month.name for missing in made.missing)
    assert set(homes.values()) <= {1}
    assert set(homes) | set(excluded) == {member.name for member in members}


# ------------------------------------------------------------------ keys and what is made already


def keys(made):
    return {identity: node.key for identity, node in made.nodes.items()}


def changed(before, after):
    before, after = keys(before), keys(after)
    return {identity.rpartition("/")[2] for identity in before if after.get(identity) != before[identity]}


def test_equal_inputs_give_equal_keys_in_any_order_and_place(month_of_exposures):
    members = month_of_exposures()
    moved = [replace(one, path=f"/elsewhere/{one.name}") for one in reversed(members)]
    assert keys(plan(members)) == keys(plan(moved, output="/other"))


def test_a_changed_dark_changes_what_depends_on_it_and_nothing_else(month_of_exposures):
    members = month_of_exposures()
    index = next(n for n, one in enumerate(members) if one.target == "DARK")
    after = list(members)
    after[index] = replace(members[index], checksum="f" * 64)
    assert changed(plan(members), plan(after)) == {
        members[index].name.replace("_raw", "_flt"), f"basedark_{NAME}.fits",
        *(f"weekdark_{NAME}_wk0{n}_drk.fits" for n in (1, 2, 3)),
    }  # fmt: skip


def test_a_changed_bias_of_gain_4_changes_its_superbias_alone(month_of_exposures):
    members = month_of_exposures()
    index = next(n for n, one in enumerate(members) if one.gain == 4)
    after = list(members)
    after[index] = replace(members[index], checksum="f" * 64)
    assert changed(plan(members), plan(after)) == {f"weekbias_{NAME}_biwk01_bia.fits"}


def test_parameters_references_and_policy_are_in_the_key(month_of_exposures, tmp_path, monkeypatch):
    import asdf

    members = [replace(one, references={"CCDTAB": "myref$a_ccd.fits"}) for one in month_of_exposures()]
    before = plan(members)
    asdf.AsdfFile({"parameters": {"sigma": 4.0}, "steps": []}).write_to(tmp_path / "weekdark.asdf")
    weekdarks = {f"weekdark_{NAME}_wk0{n}_drk.fits" for n in (1, 2, 3)}
    assert changed(before, plan(members, profile=str(tmp_path))) == weekdarks
    (tmp_path / "weekdark.asdf").unlink()
    (tmp_path / "policy.yaml").write_text("useafter: period\n")
    everything = {node.name for node in before.nodes.values()}
    assert changed(before, plan(members, profile=str(tmp_path))) == everything
    (tmp_path / "a_ccd.fits").write_bytes(b"table")
    monkeypatch.setenv("myref", str(tmp_path))
    assert changed(before, plan(members)) == everything


def test_profiles_one_on_top_of_the_other(tmp_path):
    from refstis.anneal.policy import load_profile
    from refstis.datamodels import config_path
    from refstis.errors import ConfigurationError

    (tmp_path / "policy.yaml").write_text("useafter: period\n")
    both = load_profile(f"demo,{tmp_path},improved")
    assert both.policy.useafter == "period"
    assert both.policy.superbias == load_profile("demo").policy.superbias
    assert both.parameter_file("weekdark") == config_path("improved/weekdark.asdf")
    assert load_profile(f"improved,{tmp_path}").parameter_file("weekdark") == config_path(
        "improved/weekdark.asdf"
    )
    assert load_profile(str(tmp_path)).parameter_file("weekdark") == config_path("weekdark.asdf")
    with pytest.raises(
        ConfigurationError, match="no profile 'nothing': expected heritage, demo, improved, small-frames or"
    ):
        load_profile("demo,nothing")


def test_useafter_by_policy(month_of_exposures, tmp_path):
    for choice, expected in [("data", {""}), ("anneal", {"2013-05-16T18:58:46"})]:
        (tmp_path / "policy.yaml").write_text(f"useafter: {choice}\n")
        assert {
            node.useafter for node in plan(month_of_exposures(), profile=str(tmp_path)).nodes.values()
        } == expected
    (tmp_path / "policy.yaml").write_text("useafter: period\n")
    made = plan(month_of_exposures(), profile=str(tmp_path))
    assert made.nodes[f"{NAME}/darks/wk02/weekdark_{NAME}_wk02_drk.fits"].useafter == "2013-05-24T18:58:46"


def make_everything(made):
    """What a run leaves: files and their records."""
    records = {}
    for node in made.nodes.values():
        path = made.path(node)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(node.key)
        records[str(path)] = ProductRecord(
            str(path), node.kind, node.month, node.key, checksum_of(path), signature_of(path), False,
            json.loads(json.dumps(node.record())), "r1", "2026-01-01",
        )  # fmt: skip
    return records


def statuses(made):
    found = {}
    for node in made.nodes.values():
        found.setdefault(node.status, set()).add(node.name)
    return found


def test_what_is_made_is_kept_and_what_is_not_says_why(month_of_exposures, tmp_path):
    members = month_of_exposures()
    made = plan(members, output=tmp_path)
    compare_with_products(made, {})
    assert set(statuses(made)) == {"new"}
    assert len(made.to_make()) == len(made.nodes)
    records = make_everything(made)
    compare_with_products(made, records)
    assert set(statuses(made)) == {"made"}
    assert made.to_make() == []

    weekbias = made.path(made.nodes[f"{NAME}/biases/1-1x1/wk02/weekbias_{NAME}_wk02_bia.fits"])
    content = weekbias.read_text()
    weekbias.write_text(content)
    basebias = tmp_path / NAME / "basebias.fits"
    basebias.unlink()
    base = made.nodes[f"{NAME}/biases/4-1x1/biwk01/weekbias_{NAME}_biwk01_bia.fits"]
    made.path(base).write_text("somebody edited this")
    flt = next(node for node in made.nodes.values() if node.kind == "biassub")
    made.path(flt).unlink()
    compare_with_products(made, records)
    found = statuses(made)
    assert found["new"] == {"basebias.fits"}
    assert found["remake"] == {base.name}
    assert found["not needed"] == {flt.name}
    assert weekbias.name in found["made"]
    assert base.why == "its file was changed since it was made"

    index = next(n for n, one in enumerate(members) if one.target == "DARK")
    del members[index]
    after = plan(members, output=tmp_path)
    compare_with_products(after, records)
    basedark = after.nodes[f"{NAME}/basedark_{NAME}.fits"]
    assert basedark.status == "remake"
    assert basedark.why == f"no longer an input: {flt.name}"


def test_why_a_product_is_made_again(month_of_exposures, tmp_path, monkeypatch):
    members = month_of_exposures()
    made = plan(members, output=tmp_path)
    records = make_everything(made)
    node = made.nodes[f"{NAME}/basebias.fits"]
    path = str(made.path(node))
    for change, why in [
        ({"version": 0}, "version was none, is 1"),
        ({"parameters": {"sigma": 1}}, "parameters changed"),
        ({"inputs": [[*row[:2], "x"] for row in node.record()["inputs"]]}, "changed input: "),
        ({"inputs": node.record()["inputs"][1:]}, "new input: ob0000q_raw.fits"),
        ({"inputs": node.record()["inputs"][::-1]}, "another order of inputs"),
        ({"useafter": "2013-05-16"}, "useafter was 2013-05-16, is none"),
    ]:
        records[path] = replace(records[path], key="0" * 64, record={**node.record(), **change})
        compare_with_products(made, records)
        assert node.why.startswith(why)


# ------------------------------------------------------------------ for people and programs


def test_the_plan_as_json_holds_everything(month_of_exposures):
    members = month_of_exposures()
    members[0] = replace(members[0], amplifier="A")
    made = plan(members)
    found = json.loads(json.dumps(made.to_dict()))
    assert [one["identity"] for one in found["products"]] == list(made.nodes)
    assert found["excluded"][0]["reason"] == "CCDAMP A, expected D"
    assert found["months"][0]["division"] == {"WK": "24 days in 3 periods", "BIWK": "24 days in 2 periods"}
    product = next(one for one in found["products"] if one["kind"] == "refbias")
    assert product["inputs"][0]["path"].startswith("/raws/")
    assert product["key"] == made.nodes[product["identity"]].key


def printed(made, width=160):
    console = Console(width=width, file=io.StringIO())
    print_plan(made, console)
    return console.file.getvalue()


def test_the_table_tells_procedure_reason_and_what_is_left_out(month_of_exposures):
    members = month_of_exposures(biases=(104, 61, 0))
    members[0] = replace(members[0], amplifier="A", path="/raws/[bold]name_raw.fits")
    members[1] = replace(members[1], fault="truncated: 1 bytes, at least 2 expected")
    text = printed(plan(members))
    for expected in (
        "13134_26  2013-05-16T18:59 to 2013-06-10T03:32 UTC",
        "weeks: 24 days in 3 periods; two weeks: 24 days in 2 periods",
        "weekbias on basebias, 61 imsets < 98",
        "no superbias: no biases",
        "16 bias-subtracted darks",
        "[bold]name_raw.fits left out: CCDAMP A, expected D",
        "Bad exposures: 1",
        "CAUTION made without ob0001q_raw.fits: truncated",
    ):
        assert expected in text
    assert summary(plan(members)) in text


def test_the_summary_counts_what_a_run_makes(month_of_exposures):
    made = plan(month_of_exposures(biases=(136, 61, 30)))
    chosen = Choice().apply(made)
    assert sum("_grp" in identity for identity in chosen) == 2
    assert summary(made) == (
        f"1 month, {len(chosen)} products: {len(chosen)} to make, 0 to make again, 0 made; 48 darks to bias-subtract"
    )


def test_many_exclusions_are_grouped_by_reason(month_of_exposures):
    members = [
        replace(one, amplifier="A") if one.gain == 4 or one.target == "DARK" else one
        for one in month_of_exposures()
    ]
    text = printed(plan(members))
    assert "Left out: 52" in text
    assert "and 50 more: CCDAMP A, expected D" in text


def test_the_graph_is_an_svg_with_all_products(month_of_exposures):
    made = plan(month_of_exposures(biases=(130, 61, 20)), AnnealTable([Anneal(MONTH, None, remark="<&>")]))
    document = ET.fromstring(graph_svg(made))  # noqa: S314 - our own
    texts = [element.text for element in document.iter("{http://www.w3.org/2000/svg}title")]
    for node in made.nodes.values():
        if node.kind != "biassub":
            assert any(text.startswith(f"{node.name} · ") for text in texts)
    rectangles = list(document.iter("{http://www.w3.org/2000/svg}rect"))
    singles = sum(node.kind != "biassub" for node in made.nodes.values())
    assert len(rectangles) == 1 + singles + 3
    height, width = float(document.get("height")), float(document.get("width"))
    for one in rectangles[1:]:
        assert 0 <= float(one.get("x")) <= width - float(one.get("width"))
        assert 0 <= float(one.get("y")) <= height - float(one.get("height"))


SCALE = """
import re, sys
from pathlib import Path
from refstis.anneal.ledger import Ledger
from refstis.anneal.survey import survey
with Ledger(sys.argv[1]) as ledger:
    made = survey(None, sys.argv[2], ledger)
darks = sum(node.kind == "biassub" for node in made.nodes.values())
# what the process itself needed at most; the usage that a parent is told begins with the parent's own memory
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(len(made.months), darks, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is told by Linux only")
def test_all_known_months_are_planned_from_the_ledger(tmp_path, month_of_exposures):
    from refstis.anneal.ledger import Ledger

    members = []
    months = [one for one in shipped_table().months() if one.begin is not None]
    for number, one in enumerate(months):
        days = int(one.end - one.begin) if one.end is not None else 28
        darks = month_of_exposures(
            one.begin, days, f"o{number:03d}", biases=(104, 61, 98, 40), gain4=8, darks=2
        )
        members += [
            replace(dark, exposure_time=1000.0, exposure_times=(1000.0,)) if dark.target == "DARK" else dark
            for dark in darks
        ]
    assert sum(one.target == "DARK" for one in members) > 10_440
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.remember(members)
    done = subprocess.run(
        [sys.executable, "-c", SCALE, tmp_path / "l.db", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
    )
    planned, darks, megabytes = (float(word) for word in done.stdout.split())
    assert planned == 199
    assert darks > 10_440
    assert megabytes < 500
