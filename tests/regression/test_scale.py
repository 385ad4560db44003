"""The plan of all anneal months that are known, with the darks that were truly taken."""

import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from refstis.anneal.dates import parse_date
from refstis.anneal.exposures import Exposure
from refstis.anneal.ledger import Ledger
from refstis.anneal.table import Anneal, shipped_table

PLAN = """
import json, re, sys, time
from pathlib import Path
from refstis.anneal.ledger import Ledger
from refstis.anneal.survey import survey
with Ledger(sys.argv[1]) as ledger:
    made = survey(None, sys.argv[2], ledger)
months = {node.exposures[0].name[:9]: node.month for node in made.nodes.values() if node.kind == "biassub"}
left_out = {one.rootname: one.reason for one in made.exclusions}
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([len(made.months), months, left_out, peak, time.process_time()]))
"""


def exposure(rootname, target, begin, exptime, imsets, gain=1):
    return Exposure(
        path="", checksum=f"{rootname:0>64}", rootname=rootname, instrument="STIS", detector="CCD", target=target,
        filetype="SCI", obsmode="ACCUM", amplifier="D", gain=gain, offset=3, xbin=1, ybin=1, size=(1062, 1044),
        begin=begin, end=begin + exptime / 86400, exposure_time=exptime, exposure_times=(exptime / imsets,) * imsets,
        imsets=imsets, made="2018-01-01",
    )  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is told by Linux only")
def test_all_darks_since_1997_are_planned_in_their_months(shared, tmp_path):
    """10,440 darks of 199 periods as a published list has them, with as many biases as a month usually has."""
    periods = defaultdict(list)
    with (shared / "data" / "anneal_darks.csv").open() as stream:
        for row in csv.DictReader(stream):
            dark = row["exposure"], parse_date(row["start_utc"].replace(" ", "T")), float(row["exptime_s"])
            periods[row["period"]].append(dark)
    members = []
    for number, darks in periods.items():
        members += [exposure(name, "DARK", begin, seconds, 1) for name, begin, seconds in darks]
        first, last = darks[0][1], darks[-1][1]
        for bias in range(42):
            when = first + (bias + 0.5) / 42 * (last - first)
            gain, imsets = (4, 4) if bias % 5 == 4 else (1, 8)
            members.append(exposure(f"z{int(number):03d}{bias:03d}zq", "BIAS", when, 0.0, imsets, gain))
    assert (len(periods), sum(map(len, periods.values()))) == (199, 10_440)
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.remember(members)
    words = [sys.executable, "-c", PLAN, tmp_path / "ledger.db", tmp_path / "out"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    number, months, left_out, megabytes, seconds = json.loads(done.stdout)
    assert seconds < 10
    assert megabytes < 500
    assert number == 199
    # the table knows of some anneals when they ended, and what was taken before that belongs to no month
    table = shipped_table()
    during = {
        name for darks in periods.values() for name, begin, _ in darks if isinstance(table.at(begin), Anneal)
    }
    darks = {name for darks in periods.values() for name, *_ in darks}
    assert {name for name in left_out if name in darks} == during
    assert all(left_out[name].startswith("taken during the anneal") for name in during)
    assert set(months) == darks - during
    found = {period: {months.get(name) for name, *_ in darks} - {None} for period, darks in periods.items()}
    assert {period: names for period, names in found.items() if len(names) != 1} == {}
    assert len(set.union(*found.values())) == 199
