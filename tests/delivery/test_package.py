"""A delivery appears whole or not at all, with a form that CRDS's own code takes."""

import hashlib
import io
import json
import shutil
from datetime import date

import pytest
import yaml
from astropy.io import fits

from refstis.anneal.ledger import Ledger
from refstis.delivery.form import make_form, read_form_settings
from refstis.delivery.month import deliver_month, examine_month, last_delivered, report_month
from refstis.delivery.package import make_package, parse_acceptances
from refstis.delivery.products import Product, find_products
from refstis.delivery.regression import RegressionResult
from refstis.errors import ConfigurationError, InputError, OutputError, RefstisError


@pytest.fixture(scope="module")
def findings(months):
    return examine_month(months.now, previous=months.before)


@pytest.fixture(scope="module")
def package(months, findings, tmp_path_factory):
    target = tmp_path_factory.mktemp("delivery") / "14825_08"
    return deliver_month(months.now, target, findings, deliverer="Æsa Øst", emails=["asa@example.org"])


def one_week(folder, month):
    """The first week's superbias and superdark alone, which are packed faster."""
    folder = folder / month.name
    folder.mkdir(parents=True)
    for path in find_products(month):
        if "_wk01_" in path.name:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def week(months, tmp_path_factory):
    """A month of one week, and what was found out about it."""
    folder = one_week(tmp_path_factory.mktemp("week"), months.now)
    return folder, examine_month(folder, previous=months.before)


def form_of(months, findings, **changes):
    given = {
        "deliverer": "Ada",
        "judgements": findings.judgements,
        "certifications": findings.certifications,
        "regression": findings.regression,
        "month": "14825_08",
        "day": date(2017, 8, 1),
    }
    return make_form(find_products(months.now), **{**given, **changes})


def test_package_is_complete(package, months):
    names = {path.name for path in package.folder.iterdir()}
    products = {path.name for path in find_products(months.now)}
    assert products == set(package.files)
    assert names - products == {
        "SHA256SUMS", "biases.pdf", "biweeks.pdf", "certification.log", "darks.pdf", "delivery_form.yaml",
        "deliveryform.txt", "report.html", "report.json", "verdicts.json",
    }  # fmt: skip
    for path in find_products(months.now):
        assert (package.folder / path.name).read_bytes() == path.read_bytes()
    assert not [path for path in package.folder.parent.iterdir() if path.name.startswith(".")]


def test_checksums(package):
    lines = (package.folder / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(list(package.folder.iterdir())) - 1
    for line in lines:
        checksum, name = line.split("  ")
        assert hashlib.sha256((package.folder / name).read_bytes()).hexdigest() == checksum


def test_form_is_derived(package):
    form = yaml.safe_load((package.folder / "delivery_form.yaml").read_text(encoding="utf-8"))
    assert form["deliverer"] == "Æsa Øst"
    assert form["file_type"] == "bia, drk"
    assert form["useafter_matches"] == "N/A"
    assert form["compliance_verified"] == "Yes"
    assert all(form[key] is True for key in form if key.endswith(("_updated", "_checked")))
    assert "2 superdarks" in form["description"]
    assert "8 reductions, 0 failures" in form["correctness_testing"]


def test_text_form_has_all_items(package):
    text = (package.folder / "deliveryform.txt").read_text(encoding="utf-8")
    for number in (
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "6a",
        "6b",
        "7",
        "8",
        "8a",
        "9",
        "10",
        "10a",
        "11",
        "11a",
        "12",
        "13",
        "14",
        "15",
        "16",
    ):
        assert f"\n {number}-" in f"\n{text}"
    assert "weekdark_14825_08_wk01_drk.fits is for dates" in text
    assert "weekdark_14825_08_wk02_drk.fits is for dates after" in text
    assert str(package.folder) in text
    assert max(len(line) for line in text.splitlines() if "sha256" not in line and "/" not in line) <= 92


QUESTIONS = """
- {key: deliverer, required: true, type: CharField}
- {key: other_email, required: false, type: CharField}
- {key: instrument, required: true, type: TypedChoiceField, choices: [acs, cos, stis, wfc3]}
- {key: file_type, required: true, type: CharField}
- {key: history_updated, required: false, type: BooleanField, choices: [false, true]}
- {key: pedigree_updated, required: false, type: BooleanField, choices: [false, true]}
- {key: keywords_checked, required: false, type: BooleanField, choices: [false, true]}
- {key: descrip_updated, required: false, type: BooleanField, choices: [false, true]}
- {key: useafter_updated, required: false, type: BooleanField, choices: [false, true]}
- {key: useafter_matches, required: true, type: TypedChoiceField, choices: [N/A, 'No', 'Yes']}
- {key: compliance_verified, required: true, type: TypedChoiceField, choices: [N/A, 'No', 'Yes']}
- {key: ingest_files, required: false, type: BooleanField, choices: [false, true]}
- {key: reprocess_affected, required: false, type: BooleanField, choices: [false, true]}
- {key: etc_delivery, required: false, type: BooleanField, choices: [false, true]}
- {key: jwst_etc, required: false, type: BooleanField, choices: [false, true]}
- {key: calpipe_version, required: true, type: CharField}
- {key: replacement_files, required: false, type: BooleanField, choices: [false, true]}
- {key: old_reference_files, required: false, type: CharField}
- {key: replacing_badfiles, required: true, type: TypedChoiceField, choices: [N/A, 'No', 'Yes']}
- {key: jira_issue, required: false, type: CharField}
- {key: table_rows_changed, required: false, type: CharField}
- {key: modes_affected, required: true, type: CharField}
- {key: correctness_testing, required: true, type: CharField}
- {key: additional_considerations, required: false, type: CharField}
"""


def test_crds_takes_the_form(package, monkeypatch):
    """`crds.submit`'s own class, with the questions that its server asks, checks every answer."""
    from crds.submit import rc_submit

    monkeypatch.setattr(rc_submit.urllib.request, "urlopen", lambda _: io.BytesIO(QUESTIONS.encode()))
    monkeypatch.setenv("CRDS_SERVER_URL", "none")
    submission = rc_submit.Submission("hst", "test", context="hst_0001.pmap")
    form = yaml.safe_load((package.folder / "delivery_form.yaml").read_text(encoding="utf-8"))
    for key, value in form.items():
        submission[key] = value
    for name in package.files:
        submission.add_file(str(package.folder / name))
    submission.validate()
    assert submission["instrument"] == "stis"


# ---------------------------------------------------------------------------- what stops it


@pytest.fixture
def failed(months, tmp_path):
    """The month with a dark of three times the rate."""
    month = tmp_path / "14825_08"
    month.mkdir()
    for path in find_products(months.now):
        shutil.copy(path, month)
    dark = month / "weekdark_14825_08_wk02_drk.fits"
    with fits.open(dark, mode="update", memmap=False) as hdus:
        hdus[1].data = hdus[1].data * 4.0
    return month, examine_month(month, previous=months.before, regression=False)


def test_a_failed_file_stops_the_delivery(failed, findings, tmp_path):
    month, found = failed
    given = {
        "deliverer": "Ada",
        "judgements": found.judgements,
        "certifications": found.certifications,
        "documents": (),
    }
    with pytest.raises(
        RefstisError, match=r"weekdark_14825_08_wk02_drk.fits \(.*hot_scale.*--accept NAME=REASON"
    ):
        make_package(month, tmp_path / "out", regression=findings.regression, **given)
    assert not (tmp_path / "out").exists()


def test_an_accepted_file_is_delivered_and_this_is_recorded(failed, findings, tmp_path):
    from dataclasses import replace

    month, found = failed
    accepted = parse_acceptances(["weekdark_14825_08_wk02_drk.fits=the chip was warm = known"])
    with Ledger(tmp_path / "ledger.db") as ledger:
        package = deliver_month(
            month, tmp_path / "out", replace(found, regression=findings.regression), deliverer="Ada", accepted=accepted,
            ledger=ledger,
        )  # fmt: skip
        entries = {(verdict.name, verdict.product): verdict.reason for verdict in ledger.verdicts()}
    assert "the chip was warm = known" in package.form.answers["additional_considerations"]
    assert entries["accepted", str(month / "weekdark_14825_08_wk02_drk.fits")] == "the chip was warm = known"
    assert len([name for name, _ in entries if name == "delivered"]) == len(package.files)
    report = (package.folder / "report.html").read_text(encoding="utf-8")
    assert "Accepted: the chip was warm = known" in report
    assert json.loads((package.folder / "verdicts.json").read_text())["accepted"] == accepted


def test_what_was_delivered_last_is_compared_with(months, week, tmp_path):
    folder, _ = week
    before = one_week(tmp_path, months.before)
    with Ledger(tmp_path / "ledger.db") as ledger:
        delivered = deliver_month(
            before, tmp_path / "out", examine_month(before), deliverer="Ada", ledger=ledger
        )
        assert {path.name for path in last_delivered(ledger, folder)} == set(delivered.files)
        assert last_delivered(ledger, before) == []
        now = examine_month(folder, ledger=ledger, regression=False)
    compared = {one.name: one.earlier for one in now.judgements}
    assert compared["weekdark_14825_08_wk01_drk.fits"] == "weekdark_14825_05_wk01_drk.fits"


def test_acceptance_of_what_did_not_fail(week, tmp_path):
    folder, found = week
    with pytest.raises(ConfigurationError, match="no such file among those that failed"):
        deliver_month(folder, tmp_path / "out", found, deliverer="Ada", accepted={"a_bia.fits": "why"})


@pytest.mark.parametrize("given", ["a_bia.fits", "a_bia.fits=", "=why"])
def test_acceptance_without_a_reason(given):
    with pytest.raises(ConfigurationError, match="NAME=REASON"):
        parse_acceptances([given])


def test_files_that_crds_refuses_stop_the_delivery_and_there_is_a_report(week, tmp_path):
    from dataclasses import replace

    month, found = week
    refused = [*found.certifications[:-1], replace(found.certifications[-1], errors=["'CCDGAIN' : wrong"])]
    with pytest.raises(RefstisError, match="crds: 'CCDGAIN' : wrong"):
        deliver_month(month, tmp_path / "out", replace(found, certifications=refused), deliverer="Ada")
    assert not (tmp_path / "out").exists()
    assert json.loads((month / "report.json").read_text())["outcome"] == "FAIL"
    assert "&#39;CCDGAIN&#39; : wrong" in (month / "report.html").read_text(encoding="utf-8")
    assert (month / "darks.pdf").exists()


def test_an_existing_folder_is_kept_unless_asked(week, tmp_path):
    folder, found = week
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("here")
    with pytest.raises(OutputError, match="exists already"):
        deliver_month(folder, target, found, deliverer="Ada")
    assert (target / "mine").exists()
    deliver_month(folder, target, found, deliverer="Ada", overwrite=True)
    assert not (target / "mine").exists()
    assert (target / "SHA256SUMS").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_delivery_that_breaks_off_leaves_nothing(week, tmp_path, monkeypatch):
    import refstis.delivery.package as module

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_checksums", full)
    folder, found = week
    given = {
        "judgements": found.judgements,
        "certifications": found.certifications,
        "regression": found.regression,
        "documents": (),
    }
    with pytest.raises(OutputError, match="No space left"):
        make_package(folder, tmp_path / "out", deliverer="Ada", **given)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_deliver(findings, tmp_path):
    with pytest.raises(InputError, match="no superbiases"):
        deliver_month(tmp_path, tmp_path / "out", findings, deliverer="Ada")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- the form


def test_form_without_a_deliverer(months, findings):
    with pytest.raises(ConfigurationError, match=r"deliverer.*--deliverer"):
        form_of(months, findings, deliverer="")


def test_form_without_a_regression(months, findings):
    with pytest.raises(ConfigurationError, match=r"calpipe_version.*regression"):
        form_of(months, findings, regression=RegressionResult("none", []))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("answers: {modes_affected: TODO}", "modes_affected still holds the placeholder 'TODO'"),
        ("answers: {jira_issue: 'REDCAT-???'}", "jira_issue still holds"),
        ("answers: {change_level: HUGE}", "change_level is 'HUGE'"),
        ("answers: {etc_delivery: perhaps}", "etc_delivery is 'perhaps'"),
        ("answers: {replacing_badfiles: maybe}", "replacing_badfiles is 'maybe'"),
        ("answers: {colour: red}", "the form has no colour"),
        ("colour: red", "unknown key colour"),
        ("answers: [1]", "answers: expected a mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_wrong_answers_are_named(months, findings, text, word, tmp_path):
    own = tmp_path / "form.yaml"
    own.write_text(text)
    with pytest.raises(ConfigurationError, match=word.replace("?", r"\?")):
        form_of(months, findings, settings=own)


def test_answers_of_ones_own(months, findings, tmp_path):
    own = tmp_path / "form.yaml"
    own.write_text("answers: {change_level: MODERATE, jira_issue: REDCAT-25}\n")
    form = form_of(months, findings, settings=own)
    assert form.answers["change_level"] == "MODERATE"
    assert list(form.answers) == list(read_form_settings()["keys"])
    assert " 11-Level of change: MODERATE" in form.text
    assert "08/01/2017" in form.text


def test_replaced_files(months, findings):
    new = months.product("_wk02_drk.fits")
    old = Product.open(new)
    old.path = old.path.with_name("7bu21313o_drk.fits")
    form = form_of(months, findings, replaced={new.name: old})
    assert form.answers["replacement_files"] is True
    assert form.answers["old_reference_files"] == "7bu21313o_drk.fits"
    assert form.answers["useafter_matches"] == "Yes"


def test_description_holds_only_what_crds_takes(months, findings):
    from crds.submit.rc_submit import validate_description_text

    form = form_of(months, findings, month='14825_08 (it\'s "new"; 100% of it: <all>)')
    assert validate_description_text(form.answers["description"]) is None


def test_report_of_a_month(months, findings, tmp_path):
    page = report_month(
        months.now, findings, output=tmp_path, anneals=months.raws / "anneals.csv", index="../index.html"
    )
    assert 'href="../index.html"' in page.read_text(encoding="utf-8")
