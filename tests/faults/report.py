"""The table of docs/faults.md: `python tests/faults/report.py` runs all campaigns (hours) and writes it anew.

The numbers of a campaign are kept in tests/faults/results: `--write` only writes the table from them, and
`--run kills` (io, conditions, fuzz, load) runs one campaign alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
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
    "load": [HERE / "load.py"],
}


def run(name):
    """Run a campaign and keep its numbers, with when and where they were had."""
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{name}.json"
    subprocess.run([sys.executable, *PROGRAMS[name], "--table", target], check=True)
    keep(name, json.loads(target.read_text()))


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
    kills, faults, lacks, fuzz, load = (read(name) for name in ("kills", "io", "conditions", "fuzz", "load"))
    if kills:
        table = kills["table"]
        lines += ["### Kills", "", caption(kills), ""]
        lines += [
            "| command | run time (s) | kills | within a write | lost or wrong |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, one in table.items():
            lines.append(
                f"| {name} | {one['seconds']} | {one['kills']} | {one['within a write']} | {len(one['problems'])} |"
            )
        total = [sum(one[key] for one in table.values()) for key in ("kills", "within a write")]
        lines += [
            f"| **all** | | **{total[0]}** | **{total[1]}** | **{sum(len(one['problems']) for one in table.values())}** |",
            "",
        ]
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
    if fuzz:
        table = fuzz["table"]
        lines += ["### Bad input", "", caption(fuzz), ""]
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
    parser.add_argument(
        "--write", action="store_true", help="only write the table from the numbers that are kept"
    )
    words = parser.parse_args()
    for each in [] if words.write else words.run or list(PROGRAMS):
        run(each)
    write()
