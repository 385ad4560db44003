"""The fault campaign: kills and faults of input and output in every command that writes.

`python tests/faults/campaign.py kills --number 20` and `... io --number 45` print a line for each command and what went
wrong; with --table they also keep the numbers. Needs a C compiler for the faults of input and output.
"""

import argparse
import ctypes
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.archive import archive
from faults.commands import COMMANDS, Case, Stock, digests, expect, partial, resumed, unfinished
from faults.conditions import NotHere, conditions, needed

SHIM = Path(__file__).with_name("shim.c")
OPEN, WRITE, SYNC, RENAME, MAKE, READ = 1, 2, 4, 8, 16, 32
FAULTS = [
    ("ENOSPC", WRITE, True), ("ENOSPC", OPEN, False), ("EDQUOT", WRITE, True), ("EIO", WRITE, False), ("EIO", SYNC, False),
    ("EIO", READ, False), ("EROFS", OPEN | MAKE | RENAME, True), ("EACCES", OPEN, False), ("EACCES", MAKE, False),
    ("EACCES", RENAME, False), ("EMFILE", OPEN | READ, True), ("EIO", RENAME, False), ("ENOSPC", MAKE, False),
    ("EMFILE", READ, False), ("EDQUOT", SYNC, False),
]  # fmt: skip


def compiled(folder):
    """The library that lets calls fail, compiled; None where there is no compiler."""
    library = Path(folder) / "shim.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-w", "-o", library, SHIM, "-ldl"], check=True)
    return library


def warm(stock, folder, names):
    """Import and compile what commands need, so that children begin with their work; and make what some commands read."""
    from refstis.commands.main import registered

    registered()
    import logging

    import asdf  # noqa: F401
    import dask.threaded  # noqa: F401
    import distributed  # noqa: F401
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.figure

    import refstis
    import refstis.demo.page
    import refstis.pipeline
    import refstis.retrieval.mast
    from refstis.delivery import month, report  # noqa: F401

    logging.disable(logging.CRITICAL)
    for name, kind in (
        ("basebias", refstis.BaseBiasPipeline), ("refbias", refstis.RefBiasPipeline), ("weekbias", refstis.WeekBiasPipeline),
        ("basedark", refstis.BaseDarkPipeline), ("weekdark", refstis.WeekDarkPipeline),
    ):  # fmt: skip
        steps = {"crcorr": {"threads": 1}}
        kind.call(
            str(stock.folder / "month" / f"{name}.json"),
            output_file=str(folder / f"{name}.fits"),
            steps=steps,
        )
    os.environ["oref"] = str(stock.folder / "oref") + "/"
    made = stock.folder / "made"
    made.mkdir()
    refstis.RefBiasPipeline.call(
        str(stock.folder / "month" / "refbias.json"), output_file=str(made / "refbias_bia.fits")
    )
    raws = sorted(str(path) for path in (stock.folder / "raws").glob("*_raw.fits"))
    refstis.RefBiasPipeline.call(raws, output_file=str(stock.folder / "scored_bia.fits"))
    if "custom-dark" in names:
        from custom.conftest import _make_sky

        _make_sky(stock.folder / "sky", size="small", days=5, imsets=[4])
    logging.disable(logging.NOTSET)
    assert threading.active_count() == 1, "a child of a process with threads may lock up"


def writing(child, case):
    """Whether a stopped child has a file of its output open for writing, or one that is not finished stands there."""
    try:
        for descriptor in os.listdir(f"/proc/{child}/fd"):
            path = os.readlink(f"/proc/{child}/fd/{descriptor}")
            if path.startswith(f"{case.folder / 'out'}/") and not path.endswith(
                (".refstis.lock", " (deleted)")
            ):
                flags = next(
                    line
                    for line in Path(f"/proc/{child}/fdinfo/{descriptor}").read_text().splitlines()
                    if line[:5] == "flags"
                )
                if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    except OSError:
        pass
    return any(
        name.endswith(".part")
        for _, folders, names in os.walk(case.folder / "out")
        for name in (*folders, *names)
    )


def _affordable(number, seconds):
    """Fewer tries of commands that take long."""
    return number if seconds < 5 else max(8, number // 3)


def _signal(one):
    return signal.SIGTERM if one % 2 else signal.SIGKILL


def kill(stock, command, folder, number, library=None, say=functools.partial(print, flush=True)):
    """Kill a command at instants spread evenly over its run time, by SIGKILL and SIGTERM in turn, and resume it.

    Of a command that writes for a thousandth of its time few such kills fall into a write: with a library that sees its
    calls, it is also killed at calls that write, spread evenly over all of them.
    """
    expected, status, seconds = expect(stock, command, folder)
    calls, problems = (0, []) if library is None else _kill_at_calls(
        stock, command, folder, max(6, number // 4), ctypes.CDLL(str(library)), expected, status
    )  # fmt: skip
    # what takes no time may be tried more often
    number = 3 * number if seconds < 0.3 else _affordable(number, seconds)
    kills = fell = late = 0
    one = 0
    while one < number:
        case = Case(folder / f"kill{one}", stock, command)
        before = case.inputs()
        begin = time.monotonic()
        child = case.start()
        done = 0
        while not done and time.monotonic() < begin + seconds * (one + 0.5) / number:
            time.sleep(0.001)
            done, _ = os.waitpid(child, os.WNOHANG)
        how = _signal(one)
        if done:
            # the machine is faster now than when the run time was measured: the same part of it again
            late += 1
            seconds = time.monotonic() - begin
        else:
            os.kill(child, signal.SIGSTOP)
            time.sleep(0.005)
            fell += writing(child, case)
            os.kill(child, how)
            os.kill(child, signal.SIGCONT)
            ended = case.wait(child, 60)
            kills += 1
            if ended == -1000:
                problems.append(f"{one}: does not end")
            if how == signal.SIGTERM and "Traceback" in case.said:
                problems.append(f"{one}: a traceback: {case.said[-300:]}")
        problems += [f"{one}: killed, {fault}" for fault in partial(case, expected)]
        problems += [f"{one}: {fault}" for fault in resumed(case, expected, status)]
        if case.inputs() != before:
            problems.append(f"{one}: inputs were changed")
        shutil.rmtree(case.folder)
        one += not done or late > number
    say(
        f"{command.name}: {kills} kills in {seconds:.2f} s, {fell} within a write, {late} too late, {calls} at calls that "
        f"write, {len(problems)} problems"
    )
    for fault in problems[:4]:
        say(f"    {fault}")
    return {
        "kills": kills, "within a write": fell, "at calls": calls, "seconds": round(seconds, 2), "problems": problems,
    }  # fmt: skip


def _kill_at_calls(stock, command, folder, number, shim, expected, status):
    """Kill a command as it opens, writes, flushes, renames or makes a folder; how often that was, and what went wrong."""
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    which = OPEN | WRITE | SYNC | RENAME | MAKE

    def run(case, nth, code):
        report = case.folder / "injected"

        def arrange(here):
            os._exit = _telling(shim, report, os._exit)
            shim.fault_arm(os.fsencode(here.folder / "out"), which, nth, code, 0)

        ended = case.wait(case.start((), arrange))
        return ended, [int(one) for one in report.read_text().split()] if report.exists() else [nth, 1]

    case = Case(folder / "count", stock, command)
    _, (calls, _) = run(case, 0, 0)
    shutil.rmtree(case.folder)
    kills, problems = 0, []
    for one in range(min(number, calls)):
        nth = 1 + int((one + 0.5) * calls / number) if calls > number else one + 1
        case = Case(folder / f"call{one}", stock, command)
        before = case.inputs()
        ended, (_, injected) = run(case, nth, -_signal(one))
        kills += bool(injected)
        label = f"at call {nth} of {calls}"
        if ended == -1000:
            problems.append(f"{label}: does not end")
        if "Traceback" in case.said:
            problems.append(f"{label}: a traceback: {case.said[-300:]}")
        problems += [f"{label}: killed, {fault}" for fault in partial(case, expected)]
        problems += [f"{label}: {fault}" for fault in resumed(case, expected, status)]
        if case.inputs() != before:
            problems.append(f"{label}: inputs were changed")
        shutil.rmtree(case.folder)
    return kills, problems


def shake(stock, command, folder, number, library, say=functools.partial(print, flush=True)):
    """Let calls fail one after the other, all kinds of errors in turn, and resume."""
    shim = ctypes.CDLL(str(library))
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    expected, status, seconds = expect(stock, command, folder)
    number = _affordable(number, seconds)
    counts = {}

    def run(case, which, nth, code, lasting):
        report = case.folder / "injected"

        def arrange(here):
            os._exit = _telling(shim, report, os._exit)
            shim.fault_arm(os.fsencode(here.folder / "out"), which, nth, code, lasting)

        child = case.start((), arrange)
        ended = case.wait(child)
        calls, injected = (int(one) for one in report.read_text().split()) if report.exists() else (0, 0)
        return ended, calls, injected

    faults = 0
    problems, tally = [], {}
    one = 0
    while faults < number and one < 3 * number:
        name, which, lasting = FAULTS[one % len(FAULTS)]
        code = getattr(errno, name)
        if (name, which) not in counts:
            case = Case(folder / f"count{one}", stock, command)
            _, counts[name, which], _ = run(case, which, 0, code, 0)
            shutil.rmtree(case.folder)
        calls = counts[name, which]
        turn = one // len(FAULTS)
        one += 1
        turns = max(1, -(-number // len(FAULTS)))
        if not calls:
            continue
        nth = 1 + (turn * calls // turns if calls > turns else turn)
        if nth > calls:
            continue
        case = Case(folder / f"fault{one}", stock, command)
        before = case.inputs()
        ended, _, injected = run(case, which, nth, code, int(lasting))
        faults += bool(injected)
        tally[name] = tally.get(name, 0) + bool(injected)
        label = f"{name} at call {nth} of {calls} (kind {which})"
        there = {path for path in case.outputs() if not unfinished(path)}
        problems += _judge(label, case, ended, status, expected.keys() - there)
        problems += [f"{label}: {fault}" for fault in partial(case, expected)]
        problems += [f"{label}: {fault}" for fault in resumed(case, expected, status)]
        if case.inputs() != before:
            problems.append(f"{label}: inputs were changed")
        shutil.rmtree(case.folder)
    say(f"{command.name}: {faults} faults {tally}, {len(problems)} problems")
    for fault in problems[:4]:
        say(f"    {fault}")
    return {"faults": faults, "by error": tally, "problems": problems}


def _judge(label, case, ended, status, missing):
    """What is wrong with how a command ended."""
    problems = []
    said = case.said
    if ended == -1000:
        problems.append(f"{label}: does not end")
    elif "Traceback" in said or ended < 0 or ended in (70, 71):
        problems.append(f"{label}: ends with {ended}: {said[-500:]}")
    elif ended and not said.strip() and not (case.folder / "out.txt").read_text().strip():
        problems.append(f"{label}: ends with {ended} without a word")
    elif ended == 0 and status == 0 and missing:
        problems.append(f"{label}: ends with 0 and lacks {sorted(missing)[:3]}")
    return problems


def starve(stock, command, folder, number, library, say=functools.partial(print, flush=True)):
    """Let a command run where something lacks or changes, and resume it where all is well."""
    expected, status, seconds = expect(stock, command, folder)
    sample = folder / "expected0" / "out"
    room = needed(sample)
    sizes = {name: (sample / name).stat().st_size for name in digests(sample)}
    tally, problems, skipped = {}, [], {}
    for name, (condition, times) in conditions(library).items():
        times = max(1, round(times * number / 4))
        for one in range(times):
            label = f"{name} {one + 1} of {times}"
            case = Case(folder / f"{name.replace('/', '').replace(' ', '_')}{one}", stock, command)
            case.sizes = sizes
            before = case.inputs()
            try:
                with condition(case, (one + 0.5) / times, room, seconds) as (arrange, beside):
                    child = case.start((), arrange)
                    if beside is not None:
                        time.sleep(beside[0])
                        beside[1]()
                    ended = case.wait(child)
                    there = {path for path in case.outputs() if not unfinished(path)}
                tried, stopped = tally.get(name, (0, 0))
                tally[name] = (tried + 1, stopped + (ended != status))
                # a folder of which the one exposure has gone has none: that is no error of fetch
                missing = (
                    set() if (command.name, name) == ("fetch", "input vanishes") else expected.keys() - there
                )
                problems += _judge(label, case, ended, status, missing)
                # of other pixels another product is made, and that is right; it has to be whole
                known = dict.fromkeys(expected, "varies") if name == "input changes" else expected
                problems += [f"{label}: {fault}" for fault in partial(case, known)]
            except NotHere as reason:
                skipped[name] = str(reason)
                break
            finally:
                if name not in skipped:
                    problems += [f"{label}: {fault}" for fault in resumed(case, expected, status)]
                    if case.inputs() != before:
                        problems.append(f"{label}: inputs were changed")
                shutil.rmtree(case.folder, ignore_errors=True)
    say(
        f"{command.name}: {sum(one for one, _ in tally.values())} conditions {tally}, {len(problems)} problems, without {skipped}"
    )
    for fault in problems[:8]:
        say(f"    {fault}")
    return {"tried": tally, "skipped": skipped, "problems": problems}


def _telling(shim, report, leave):
    def end(status):
        calls, injected = shim.fault_calls(), shim.fault_injected()
        shim.fault_arm(b"", 0, 0, 0, 0)
        report.write_text(f"{calls} {injected}")
        leave(status)

    return end


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "io", "conditions"))
    parser.add_argument("--number", type=int, default=20, help="for each command")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--table", help="JSON file for the numbers")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="refstis-faults-") as place, ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)  # some commands are run as somebody else
        library = compiled(folder)
        if library is not None and not os.environ.get("LD_PRELOAD", "").endswith("shim.so"):
            environment = {**os.environ, "LD_PRELOAD": str(library)}
            sys.exit(subprocess.call([sys.executable, *sys.argv], env=environment))
        if library is not None:
            library = Path(os.environ["LD_PRELOAD"])
        (folder / "stock").mkdir()
        stock = Stock(folder / "stock")
        stock.mast = stack.enter_context(archive())
        warm(stock, folder, words.only or [command.name for command in COMMANDS])
        table = {}
        for command in COMMANDS:
            if words.only and command.name not in words.only:
                continue
            place = folder / command.name.replace(" ", "_")
            try:
                if words.what == "kills":
                    table[command.name] = kill(stock, command, place, words.number, library)
                elif words.what == "conditions":
                    table[command.name] = starve(stock, command, place, words.number, library)
                else:
                    table[command.name] = shake(stock, command, place, words.number, library)
            except AssertionError as error:
                print(f"{command.name}: NOT TRIED: {error}", flush=True)
            shutil.rmtree(place, ignore_errors=True)
            if words.table:
                Path(words.table).write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
