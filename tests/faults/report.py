"""The table of docs/faults.md: `python tests/faults/report.py` runs all campaigns (hours) and writes it anew.

The numbers of a campaign are kept in tests/faults/results: `--write` only writes the table from them, and
`--run kills` (io, conditions, fuzz, guided, load) runs one campaign alone; with `--only fetch` a part of it, of which the
numbers take the place of the earlier ones.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent.parent / "docs" / "faults.md"
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"
PROGRAMS = {
    "kills": [HERE / "campaign.py", "kills", "--number", "24"],
    "conditions": [HERE / "campaign.py", "conditions", "--number", "4"],
    "io": [HERE / "campaign.py", "io", "--number", "60"],
    "fuzz": [HERE.parent / "fuzz" / "campaign.py", "--cases", "50000"],
    "guided": [HERE.parent / "fuzz" / "campaign.py", "--guided", "30"],
    "load": [HERE / "load.py"],
}


def run(name, only=()):
    """Run a campaign, or a part of it, and keep its numbers, with when and where they were had."""
    words = [word for one in only for word in ("--only", one)]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "table.json"
        subprocess.run([sys.executable, *PROGRAMS[name], *words, "--table", target], check=True)
        table = json.loads(target.read_text())
    before = read(name)
    keep(name, {**before["table"], **table} if only and before else table)


def keep(name, table):
    where = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": ", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{one} {version(one)}" for one in ("numpy", "astropy", "asdf", "stpipe")),
            ]
        ),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**where, "table": table}, indent=1) + "\n")


def read(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def caption(found):
    return f"{found['date']}, {found['machine']}, {found['versions']}."


def rows():
    """Lines of the page between the two marks."""
    lines = []
    kills, faults, lacks, load = (read(name) for name in ("kills", "io", "conditions", "load"))
    if kills:
        table = kills["table"]
        lines += ["### Kills", "", caption(kills), ""]
        lines += [
            "| command | run time (s) | kills at any instant | of these within a write | kills at calls that write | lost or wrong |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        counted = ("kills", "within a write", "at calls")
        for name, one in table.items():
            counts = " | ".join(str(one.get(key, 0)) for key in counted)
            lines.append(f"| {name} | {one['seconds']} | {counts} | {len(one['problems'])} |")
        sums = " | ".join(f"**{sum(one.get(key, 0) for one in table.values())}**" for key in counted)
        lost = sum(len(one["problems"]) for one in table.values())
        lines += [f"| **all** | | {sums} | **{lost}** |", ""]
    if faults:
        table = faults["table"]
        codes = sorted({code for one in table.values() for code in one["by error"]})
        lines += ["### Faults of input and output", "", caption(faults), ""]
        lines += [
            f"| command | {' | '.join(codes)} | all | lost or wrong |",
            f"|---|{'---:|' * (len(codes) + 2)}",
        ]
        for name, one in table.items():
            counts = " | ".join(str(one["by error"].get(code, 0)) for code in codes)
            lines.append(f"| {name} | {counts} | {one['faults']} | {len(one['problems'])} |")
        sums = " | ".join(str(sum(one["by error"].get(code, 0) for one in table.values())) for code in codes)
        total = sum(one["faults"] for one in table.values())
        lines += [
            f"| **all** | {sums} | **{total}** | **{sum(len(one['problems']) for one in table.values())}** |",
            "",
        ]
    if lacks:
        lines += ["### What lacks or changes", "", caption(lacks), ""]
        lines += [
            "| what | commands | tries | it stopped the command | lost or wrong |",
            "|---|---:|---:|---:|---:|",
        ]
        table = lacks["table"].values()
        names = list(dict.fromkeys(name for one in table for name in one["tried"]))
        for name in names:
            tried = [one["tried"][name] for one in table if name in one["tried"]]
            wrong = sum(fault.startswith(f"{name} ") for one in table for fault in one["problems"])
            lines.append(
                f"| {name} | {len(tried)} | {sum(one for one, _ in tried)} | {sum(one for _, one in tried)} | {wrong} |"
            )
        tried = [numbers for one in table for numbers in one["tried"].values()]
        sums = [sum(one[place] for one in tried) for place in (0, 1)]
        lost = sum(len(one["problems"]) for one in table)
        lines += [f"| **all** | | **{sums[0]}** | **{sums[1]}** | **{lost}** |", ""]
    for title, name in (("Bad input", "fuzz"), ("Bad input, led by coverage", "guided")):
        fuzz = read(name)
        if not fuzz:
            continue
        table = fuzz["table"]
        lines += [f"### {title}", "", caption(fuzz), ""]
        lines += ["| kind | cases | used | refused in one line | findings |", "|---|---:|---:|---:|---:|"]
        for name, one in table.items():
            lines.append(
                f"| {name} | {one['cases']} | {one.get('good', 0)} | {one.get('refused', 0)} | {one.get('found', 0)} |"
            )
        total = [
            sum(one.get(key, 0) for one in table.values()) for key in ("cases", "good", "refused", "found")
        ]
        lines += ["| **all** | " + " | ".join(f"**{one}**" for one in total) + " |", ""]
    if load:
        lines += ["### Load", "", caption(load), ""]
        lines += [
            "| what | held | seconds | processor time (s) | peak memory of a process (MB) |",
            "|---|---|---:|---:|---:|",
        ]
        for text, good, seconds, processor, peak in load["table"]:
            lines.append(f"| {text} | {'yes' if good else '**no**'} | {seconds} | {processor} | {peak} |")
        lines.append("")
    return lines


def write():
    """Put the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + "\n".join([BEGIN, "", *rows(), END]) + after, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="append", choices=list(PROGRAMS))
    parser.add_argument("--only", action="append", default=[], help="a command, or a kind of input")
    parser.add_argument(
        "--write", action="store_true", help="only write the table from the numbers that are kept"
    )
    words = parser.parse_args()
    for each in [] if words.write else words.run or list(PROGRAMS):
        run(each, words.only)
    write()
