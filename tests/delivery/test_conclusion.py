"""A run that ends with checks, certification, regression, plots, report and delivery."""

import json
import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import yaml
from astropy.io import fits

from refstis.anneal.ledger import Ledger
from refstis.anneal.runner import Result
from refstis.delivery.conclusion import Delivered, DeliveryOrder
from refstis.delivery.mail import MailServer
from refstis.delivery.products import find_products
from refstis.errors import ConfigurationError
from refstis.simulation import simulate

NAME = "14825_05"
POLICY = """\
selection: {dark: {binning: [4, 4]}}
superbias:
  - {gain: 1, xbin: 4, ybin: 4, refbias_from: 20, division: WK}
  - {gain: 4, xbin: 4, ybin: 4, refbias_from: 1, division: BIWK}
"""
# What a run without a network may not do: a name that is looked up, a server that is spoken to.
OFFLINE = """\
import socket, sys
def refuse(*_, **__):
    print("NETWORK", file=sys.stderr)
    raise OSError("there is no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from refstis.commands.main import main
main()
"""


class Month:
    """A small simulated month, and an output folder that was empty."""

    def __init__(self, folder):
        simulated = simulate(folder / "raws", size="small", seed=31, days=12, imsets=(24, 14))
        (folder / "profile").mkdir()
        (folder / "profile" / "policy.yaml").write_text(POLICY)
        self.simulated, self.profile, self.out = simulated, folder / "profile", folder / "out"

    def run(self, *words):
        """`refstis run` in a process of its own, without a network."""
        made = self.simulated
        given = ["run", made.folder, "-o", self.out, "--anneals", made.anneals, "--profile", self.profile]
        home = self.out.parent
        done = subprocess.run(
            [sys.executable, "-c", OFFLINE, *map(str, given), *map(str, words)],
            env={**os.environ, "oref": f"{made.oref}/", "HOME": str(home), "MPLBACKEND": "Agg"},
            capture_output=True,
            text=True,
            check=False,
            cwd=home,
        )
        return done.returncode, done.stdout, done.stderr

    def record(self):
        return json.loads((self.out / "run.json").read_text())


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    return Month(tmp_path_factory.mktemp("conclusion"))


@pytest.fixture(scope="module")
def delivered(month):
    return month.run("--deliver", "--deliverer", "Æsa Øst")


def test_one_command_from_raws_to_a_delivery(month, delivered):
    status, printed, errors = delivered
    assert (status, "NETWORK" in errors) == (0, False), printed + errors
    package = month.out / "to_deliver" / NAME
    products = find_products(month.out / NAME)
    assert {path.name for path in package.glob("*.fits")} == {path.name for path in products}
    assert len(products) == 5
    form = yaml.safe_load((package / "delivery_form.yaml").read_text(encoding="utf-8"))
    assert (form["deliverer"], form["compliance_verified"]) == ("Æsa Øst", "Yes")
    for name in ("report.html", "report.json", "biases.pdf", "biweeks.pdf", "darks.pdf"):
        assert (package / name).read_bytes() == (month.out / NAME / name).read_bytes()
    # raws lie elsewhere, and yet each dark is in the report
    assert "Median rate of every dark" in (package / "report.html").read_text(encoding="utf-8")
    assert f'href="{NAME}/report.html"' in (month.out / "index.html").read_text(encoding="utf-8")
    for words in (f"{NAME}: PASS", "CRDS accepts 7 of 7 files", f"delivery: {package}"):
        assert words in printed


def test_what_was_found_is_in_run_json_and_in_the_ledger(month, delivered):
    record = month.record()
    assert (record["verdicts"], record["exit_status"]) == ({NAME: "PASS"}, 0)
    told = record["conclusions"][NAME]
    assert (told["verdict"], told["refused"]) == ("PASS", None)
    assert [(one["file"], one["remarks"]) for one in told["files"] if one["remarks"]] == []
    assert told["delivery"] == str(month.out / "to_deliver" / NAME)
    assert (len(told["certification"]), told["regression"]["passed"]) == (7, True)
    with Ledger(month.out / "refstis_ledger.db") as ledger:
        (run,) = ledger.runs()
        found = Counter(verdict.name for verdict in ledger.verdicts())
    assert run["details"]["conclusions"][NAME]["verdict"] == "PASS"
    assert (found["certification"], found["delivered"], found["hot_growth"]) == (7, 5, 1)
    assert found["regression"] == 5


def test_a_file_that_fails_stops_the_delivery_until_it_is_accepted(month, delivered, tmp_path):
    """Against a period before of a third of the rate, everything is kept and no dark is good."""
    dark, other = (f"weekdark_{NAME}_{week}_drk.fits" for week in ("wk01", "wk02"))
    before = tmp_path / f"weekdark_{NAME[:-2]}02_wk04_drk.fits"
    with fits.open(month.out / NAME / "darks" / "wk01" / dark, memmap=False) as hdus:
        hdus["SCI"].data = hdus["SCI"].data / 3.0
        hdus[0].header["USEAFTER"] = "May 01 2017 00:00:00"
        hdus.writeto(before)
    place = tmp_path / "deliveries"
    words = ["--deliver", "--deliverer", "Ada", "--previous", before, "--delivery", place]
    status, printed, errors = month.run(*words)
    assert status == 1, printed + errors
    assert "0 products made, 7 kept" in printed
    assert f"not delivered: {dark}" in printed
    assert f"{other}: FAIL hot_scale" in printed
    assert not place.exists()
    assert month.record()["verdicts"] == {NAME: "FAIL"}
    assert "hot_scale" in month.record()["conclusions"][NAME]["refused"]
    assert json.loads((month.out / NAME / "report.json").read_text())["outcome"] == "FAIL"
    accept = [word for name in (dark, other) for word in ("--accept", f"{name}=the chip was warm")]
    status, printed, errors = month.run(*words, *accept)
    assert status == 0, printed + errors
    assert (place / NAME / dark).exists()
    assert month.record()["verdicts"] == {NAME: "CAUTION"}
    with Ledger(month.out / "refstis_ledger.db") as ledger:
        reasons = [verdict.reason for verdict in ledger.verdicts() if verdict.name == "accepted"]
    assert reasons == ["the chip was warm"] * 2


def test_what_is_missing_is_told_before_anything_is_made(month, tmp_path):
    words = [month.simulated.folder, "-o", tmp_path / "out", "--deliver"]
    for more, message in (
        ([], "nobody delivers"),
        (["--deliverer", "Ada", "--accept", "a_bia.fits"], "expected NAME=REASON"),
        (["--deliverer", "Ada", "--send"], "email in the configuration"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "refstis", "run", *map(str, [*words, *more])],
            env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (1, True, 1), done.stderr
        assert not (tmp_path / "out").exists()


def test_options_of_a_delivery_need_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "refstis", "run", str(tmp_path), "--send"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, "go with --deliver" in done.stderr) == (1, True)


def test_an_order_names_what_it_lacks(tmp_path):
    with pytest.raises(ConfigurationError, match="no such folder"):
        DeliveryOrder(tmp_path, "Ada", suite=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="cannot be mailed"):
        DeliveryOrder(tmp_path, "Ada", server=MailServer("localhost"))


def test_a_refused_delivery_is_the_verdict_of_its_month():
    months = [SimpleNamespace(month=SimpleNamespace(name=name), cautions=[]) for name in ("one", "two")]
    plan = SimpleNamespace(nodes={}, months=months, missing=[], refused=[], exclusions=[])
    result = Result("run", plan)
    assert (result.verdict("one"), result.exit_status) == ("PASS", 0)
    result.conclusions = {"one": Delivered(None, None, None, "no files")}
    assert (result.verdict("one"), result.verdict("two"), result.exit_status) == ("FAIL", "PASS", 1)
