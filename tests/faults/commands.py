"""Every command that writes, on inputs so small that each takes about a second; and what it leaves behind."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from frames import MONTH_BIASES, MONTH_DARKS, write_month

POLICY = """\
selection: {dark: {binning: [4, 4]}}
superbias:
  - {gain: 1, xbin: 4, ybin: 4, refbias_from: 8, division: WK}
"""


# What no file and no message may hold, of whatever command.
SECRET = "sesame-geheim-4711"


@dataclass
class Command:
    """A command and its words; {in}, {out}, {home} and {stock} stand for folders.

    Attributes
    ----------
    name : str
        In the table.
    words : list of str
        `refstis` and what follows, or another program first.
    before : callable, optional
        Takes the case's folder and puts there what the command changes or reads besides the common inputs.
    again : list of str
        What is added when it is run a second time.
    keeps : bool
        Whether a second run is refused, as what is there is not to be written over.
    inside : callable, optional
        Takes the case, in the process of the command before it begins.
    """

    name: str
    words: list[str]
    before: object = None
    again: list[str] = field(default_factory=list)
    keeps: bool = False
    inside: object = None


class Stock:
    """Inputs of all commands; nobody changes them."""

    def __init__(self, folder):
        from refstis.simulation import simulate

        self.folder = folder
        self.mast = None
        made = simulate(
            folder / "raws", size="small", binning=(4, 4), days=6, imsets=[4], products=("biases",), seed=8
        )
        shutil.copytree(folder / "raws" / "oref", folder / "oref")
        self.anneals = made.anneals
        (folder / "profile").mkdir()
        (folder / "profile" / "policy.yaml").write_text(POLICY.replace("refbias_from: 8", "refbias_from: 3"))
        (folder / "month").mkdir()
        write_month(folder / "month")
        (folder / "form.yaml").write_text("answers: {calpipe_version: '3.5', correctness_testing: none}\n")
        monitor = folder / "monitor" / "one"
        monitor.mkdir(parents=True)
        for name, begin, visit in (("o12345abc", 58000.0, "01"), ("o12345abd", 58001.0, "03")):
            header = fits.Header({"OBSET_ID": visit, "TEXPSTRT": begin, "PROPOSID": 15000})
            fits.PrimaryHDU(header=header).writeto(monitor / f"{name}_crj.fits")


def _config(case):
    (case / "home" / "refstis_config.yaml").write_text(
        yaml.safe_dump(
            {"anneal_directory": str(case / "in" / "monitor"), "anneal_database": str(case / "out" / "anneal_info.db"),
             "products_directory": str(case / "out" / "products")}
        )
    )  # fmt: skip


def _ledger(case):
    """A ledger that was begun: commands that only add to one refuse to begin it."""
    from refstis.anneal.ledger import Ledger

    with Ledger(case / "out" / "refstis_ledger.db") as ledger:
        ledger.exposures()


def _table(case):
    (case / "out" / "mine.csv").write_text(
        "begin,end,proposal,visit,source,remark\n2013-05-16,2013-05-17,13134,23,x,\n"
    )


def _documented(case):
    """A configuration of the documented pipeline, which takes raws from a folder and delivers what it makes."""
    places = {name: str(case / "out" / name) for name in ("products", "retrieved", "delivered")}
    (case / "home" / "refstis_config.yaml").write_text(
        yaml.safe_dump(
            {"products_directory": places["products"], "retrieve_directory": places["retrieved"],
             "delivery_directory": places["delivered"], "retrieve_from": str(case / "in" / "raws"),
             "anneal_database": str(case / "in" / "raws" / "anneals.csv"), "deliverers": ["Nobody"],
             "mast_password": SECRET}
        )
    )  # fmt: skip


def _binned(case):
    """Let the documented pipeline have a policy for these small frames; it has no option for one."""
    import refstis.anneal.survey
    import refstis.pipeline

    load = refstis.anneal.survey.load_profile
    for module in (refstis.pipeline, refstis.anneal.survey):
        module.load_profile = lambda name="heritage": load(str(case.folder / "in" / "profile"))


def _small(case):
    """Let the demonstration have small frames; it has no option for that either."""
    import functools

    from refstis.demo import chain

    (case.folder / "home" / "policy.yaml").write_text(POLICY.replace("refbias_from: 8", "refbias_from: 30"))
    chain.demonstrate = functools.partial(chain.demonstrate, size="small")


def _archive(case):
    """Let the archive on this machine be MAST."""
    import refstis.retrieval.mast as module
    from refstis.retrieval.client import Patience

    real = module.Mast
    patience = Patience(
        at_once=2, attempts=3, backoff=0.01, longest_pause=0.05, connect_timeout=5, read_timeout=5
    )
    module.Mast = lambda **options: real(case.stock.mast, patience=patience, **options)


def _names(*names):
    return [f"{{in}}/month/{one}" for one in names]


REFSTIS = ["refstis"]
RUN = [
    *REFSTIS,
    "run",
    "{in}/raws",
    "--anneals",
    "{in}/raws/anneals.csv",
    "--profile",
    "{in}/profile",
    "-o",
    "{out}",
]
COMMANDS = [
    Command("refbias", [*REFSTIS, "refbias", *_names(*MONTH_BIASES), "-o", "{out}/refbias.fits"]),
    Command("basejoint", [*REFSTIS, "basejoint", *_names(*MONTH_BIASES), "-o", "{out}/basebias.fits"]),
    Command("weekbias", [*REFSTIS, "weekbias", *_names(*MONTH_BIASES), "-o", "{out}/weekbias.fits", "-b", "{in}/month/base_bia.fits"]),
    Command("basedark", [*REFSTIS, "basedark", *_names(*MONTH_DARKS), "-o", "{out}/basedark.fits", "-b", "{in}/month/super_bia.fits"]),
    Command("weekdark", [*REFSTIS, "weekdark", *_names(*MONTH_DARKS), "-o", "{out}/weekdark.fits", "-b", "{in}/month/super_bia.fits", "-d", "{in}/month/base_drk.fits"]),
    Command("strun", ["strun", "refstis.WeekDarkPipeline", "{in}/month/weekdark.json", "--output_dir={out}"]),
    Command("run", RUN),
    Command("reprocess", [*REFSTIS, "reprocess", *RUN[2:], "--from", "2010-01"]),
    Command("plan", [*REFSTIS, "plan", *RUN[2:], "--graph", "{out}/plan.svg"]),
    Command("simulate", [*REFSTIS, "simulate", "{out}/raws", "--days", "4", "--imsets", "4", "--size", "small", "--binning", "4,4", "--product", "biases", "--seed", "3"], keeps=True),
    Command("fetch", [*REFSTIS, "fetch", "--from", "{in}/raws", "--dates", "2017-01-01", "2018-01-01", "--amp", "any", "-o", "{out}", "--suffix", "raw"]),
    Command("fetch (MAST)", [*REFSTIS, "fetch", "--dates", "2012-03-19", "2012-03-25", "--amp", "any", "-o", "{out}"], inside=_archive),
    Command("exposures mark-bad", [*REFSTIS, "exposures", "mark-bad", f"{{in}}/month/{MONTH_BIASES[0]}", "--reason", "light leak", "-o", "{out}"], _ledger),
    Command("anneals add (file)", [*REFSTIS, "anneals", "add", "2018-05-16", "2018-05-17", "--proposal", "15000", "--visit", "2", "--anneals", "{out}/mine.csv"], _table),
    Command("anneals add (ledger)", [*REFSTIS, "anneals", "add", "2018-05-16", "2018-05-17", "--ledger", "{out}/ledger.db"]),
    Command("anneals refresh", [*REFSTIS, "anneals", "refresh", "{in}/monitor", "--ledger", "{out}/ledger.db"]),
    Command("config init", [*REFSTIS, "config", "init", "{out}/refstis_config.yaml"], keeps=True),
    Command("pop_db", ["pop_db"], _config),
    Command("certify", [*REFSTIS, "certify", "{stock}/made/refbias_bia.fits", "--log", "{out}/certify.log"]),
    Command("check", [*REFSTIS, "check", "{stock}/made/refbias_bia.fits", "--ledger", "{out}/ledger.db"]),
    Command("score", [*REFSTIS, "score", "{stock}/scored_bia.fits", "--truth", "{in}/raws", "--page", "{out}/score.html"]),
    Command("report", [*REFSTIS, "report", "{stock}/made", "--no-regression", "-o", "{out}"]),
    Command("reproduce", [*REFSTIS, "reproduce", "{stock}/scored_bia.fits", "--raws", "{in}/raws", "--anneals", "{in}/raws/anneals.csv", "--profile", "{in}/profile", "-o", "{out}"]),
    Command("custom-dark", [*REFSTIS, "custom-dark", "{stock}/sky/od9e0z010_raw.fits", "--darks", "{stock}/sky", "--anneals", "{stock}/sky/anneals.csv", "--profile", "{stock}/sky/profile", "-o", "{out}/dark"]),
    Command("deliver", [*REFSTIS, "deliver", "{stock}/made", "-o", "{out}/delivery", "--deliverer", "Nobody", "--accept", "refbias_bia.fits=small frames", "--email", "a@example.org", "--overwrite", "--form", "{stock}/form.yaml"]),
    Command("pipeline", [*REFSTIS, "pipeline", "--config", "{home}/refstis_config.yaml", "-m", "2017-06-06", "2017-06-10"], _documented, inside=_binned),
    Command("demo", [*REFSTIS, "demo", "{out}/demo", "--profile", "{home}"], inside=_small),
]  # fmt: skip


class Case:
    """A folder in which a command is run: inputs that it must not change, and where it writes."""

    def __init__(self, folder, stock, command):
        self.folder, self.stock, self.command = folder, stock, command
        for one in ("in", "out", "home", "tmp", "work"):
            (folder / one).mkdir(parents=True)
        for one in ("month", "raws", "monitor", "profile"):
            shutil.copytree(stock.folder / one, folder / "in" / one, copy_function=os.link)
        if command.before is not None:
            command.before(folder)

    def words(self, extra=()):
        places = {
            "in": str(self.folder / "in"),
            "out": str(self.folder / "out"),
            "home": str(self.folder / "home"),
        }
        return [one.format(**places, stock=str(self.stock.folder)) for one in (*self.command.words, *extra)]

    def start(self, extra=(), arrange=None):
        """Run the command in a child of this process, which has everything imported; gives the child's id."""
        child = os.fork()
        if child:
            return child
        status = 70
        try:
            os.setpgid(0, 0)
            for number, name in ((1, "out"), (2, "err")):
                descriptor = os.open(
                    self.folder / f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666
                )
                os.dup2(descriptor, number)
                os.close(descriptor)
            sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            os.chdir(self.folder / "work")
            os.environ.update(
                HOME=str(self.folder / "home"),
                TMPDIR=str(self.folder / "tmp"),
                oref=str(self.stock.folder / "oref") + "/",
                COLUMNS="200",
                MAST_API_TOKEN=SECRET,
                REFSTIS_SMTP_PASSWORD=SECRET,
                PGPASSWORD=SECRET,
            )
            import tempfile

            tempfile.tempdir = None
            if self.command.inside is not None:
                self.command.inside(self)
            if arrange is not None:
                arrange(self)
            status = _run(self.words(extra))
        except BaseException:
            import traceback

            with suppress(BaseException):
                traceback.print_exc()
            status = 71
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    @staticmethod
    def wait(child, longest=120):
        """Exit status of a child; that of a signal is negative. One that hangs is ended, and that is -1000."""
        end = time.monotonic() + longest
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -1000

    def run(self, extra=(), arrange=None):
        return self.wait(self.start(extra, arrange))

    @property
    def said(self):
        path = self.folder / "err.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def inputs(self):
        return digests(self.folder / "in")

    def outputs(self):
        return digests(self.folder / "out")


def _run(words):
    sys.argv = list(words)
    try:
        if words[0] == "refstis":
            from refstis.commands.main import main

            main()
        elif words[0] == "strun":
            from stpipe._cli.strun import main as strun

            sys.argv = words
            strun()
        else:
            from refstis.commands.main import execute
            from refstis.pop_db import main as pop_db

            # a function of scripts: what it raises is told here as commands tell it
            execute(lambda: pop_db, "pop_db")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def digests(folder):
    """Sha256 of every file below a folder."""
    found = {}
    for root, _, names in os.walk(folder):
        for one in names:
            path = Path(root) / one
            with suppress(FileNotFoundError), path.open("rb") as stream:
                found[str(path.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def unfinished(name):
    """Whether a file's path says that it is being written, or belongs to a data base's journal or a lock."""
    parts = Path(name).parts
    return any(part.startswith(".") for part in parts) or name.endswith(
        ("-wal", "-shm", "-journal", ".part", ".new")
    )


def whole(path):
    """What is wrong with a file that stands under its final name; empty where nothing is."""
    try:
        if path.suffix == ".fits":
            with fits.open(path, memmap=False) as hdus:
                hdus.verify("exception")
                for hdu in hdus:
                    _ = hdu.data
            if path.stat().st_size % 2880:
                return "is not made of whole blocks"
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".asdf":
            import asdf

            with asdf.open(path, lazy_load=False, memmap=False):
                pass
        elif path.suffix == ".html":
            return "" if "</html>" in path.read_text()[-200:] else "has no end"
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(path.read_text())
        elif path.suffix == ".svg":
            return "" if "</svg>" in path.read_text()[-200:] else "has no end"
        elif path.suffix == ".db":
            # a copy: what a killed writer left in its journal is taken back by whoever opens the database next
            with tempfile.TemporaryDirectory() as folder:
                for part in path.parent.glob(f"{path.name}*"):
                    shutil.copy(part, folder)
                with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
                    found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            return "" if found == "ok" else found
        elif not path.stat().st_size and path.suffix != ".txt":
            return "is empty"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def partial(case, expected):
    """Names of files that stand under a final name and are not what they should be."""
    told = [case.folder / "out.txt", case.folder / "err.txt"]
    wrong = [
        f"{path.name} holds a secret"
        for path in [*told, *(case.folder / "out" / name for name in case.outputs())]
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    for name, digest in case.outputs().items():
        if unfinished(name):
            continue
        if expected.get(name) == digest:
            continue
        # what differs from run to run, or is only an old state, has to be whole all the same
        if (expected.get(name) and not expected.get(name) == "varies") and name.endswith(".fits"):
            wrong.append(f"{name} differs")
            continue
        fault = whole(case.folder / "out" / name)
        if fault:
            wrong.append(f"{name} {fault}")
    return wrong


def expect(stock, command, folder):
    """Run a command twice without trouble: what it makes, with "varies" for what is never the same; and its seconds."""
    made, seconds = [], []
    for number in range(2):
        case = Case(folder / f"expected{number}", stock, command)
        before = case.inputs()
        begin = time.monotonic()
        status = case.run()
        seconds.append(time.monotonic() - begin)
        assert status in (0, 1) and (
            status == 0 or command.name in ("report", "check", "reproduce", "certify", "pipeline")
        ), (command.name, status, case.said)
        assert case.inputs() == before, command.name
        made.append(
            ({name: digest for name, digest in case.outputs().items() if not unfinished(name)}, status)
        )
    (one, status), (other, _) = made
    assert one, f"{command.name} makes nothing"
    assert one.keys() == other.keys(), (command.name, one.keys() ^ other.keys())
    return (
        {
            name: digest if other[name] == digest and not name.endswith(".db") else "varies"
            for name, digest in one.items()
        },
        status,
        min(seconds),
    )


def resumed(case, expected, status):
    """Run a command again; what is wrong with what it then has made."""
    ended = case.run(case.command.again)
    there = {name: digest for name, digest in case.outputs().items() if not unfinished(name)}
    wrong = []
    if ended != status and not (case.command.keeps and not expected.keys() - there.keys()):
        wrong.append(f"resumed, it ends with {ended}: {case.said[-300:]}")
    missing = expected.keys() - there.keys()
    if missing:
        wrong.append(f"resumed, it lacks {sorted(missing)[:3]}")
    differing = [
        name
        for name, digest in expected.items()
        if digest != "varies" and there.get(name) not in (None, digest)
    ]
    if differing:
        wrong.append(f"resumed, {differing[:3]} differ")
    return [*wrong, *partial(case, expected)]
