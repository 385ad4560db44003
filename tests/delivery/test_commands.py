"""The commands of the delivery room as a shell calls them."""

import json
import shutil

import pytest
import typer
from astropy.io import fits
from typer.testing import CliRunner

from refstis.commands.certify import certify
from refstis.commands.check import check
from refstis.commands.deliver import deliver
from refstis.commands.regress import regress
from refstis.commands.report import report
from refstis.delivery.mail import MailServer
from refstis.delivery.products import find_products
from refstis.errors import ConfigurationError, RefstisError


def call(command, *words):
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_check(months, tmp_path):
    result = call(check, months.now, "--previous", months.before, "--ledger", tmp_path / "ledger.db")
    assert result.exit_code == 0
    assert result.stdout.count("PASS") == 7
    assert "weekdark_14825_05_wk02_drk.fits" in result.stdout
    assert (tmp_path / "ledger.db").exists()


def test_check_of_a_failed_file(months, tmp_path):
    bad = tmp_path / months.product("_wk01_drk.fits").name
    shutil.copy(months.product("_wk01_drk.fits"), bad)
    fits.setval(bad, "CCDGAIN", value=1)
    result = call(check, bad, "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)
    assert found["outcome"] == "FAIL"
    table = call(check, bad)
    assert "FAIL mode: CCDGAIN is 1, expected -1" in table.stdout
    assert "PASS" not in table.stdout
    assert "PASS keywords" in call(check, bad, "--verbose").stdout


def test_check_of_an_empty_folder(tmp_path):
    with pytest.raises(RefstisError, match="no superbiases"):
        call(check, tmp_path)


def test_certify(months, tmp_path):
    result = call(certify, months.now, "--log", tmp_path / "log.txt")
    assert result.exit_code == 0
    assert result.stdout.count(": passed") == 7
    assert (tmp_path / "log.txt").read_text() == result.stdout
    bad = tmp_path / "a_drk.fits"
    shutil.copy(months.product("_wk01_drk.fits"), bad)
    fits.setval(bad, "CCDGAIN", value=3)
    refused = call(certify, bad, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)[0]["passed"] is False


@pytest.fixture
def one_week(months, tmp_path):
    folder = tmp_path / "14825_08"
    folder.mkdir()
    for path in find_products(months.now):
        if "_wk01_" in path.name:
            shutil.copy(path, folder)
    return folder


def test_regress(one_week):
    result = call(regress, one_week)
    assert result.exit_code == 0
    assert result.stdout.count("PASS") == 2
    assert json.loads(call(regress, one_week, "--json").stdout)["passed"] is True


def test_report_and_index(one_week):
    result = call(report, one_week, "--no-regression")
    assert result.stdout.strip().endswith("report.html")
    assert call(report, one_week.parent, "--index").stdout.strip() == str(one_week.parent / "index.html")


def test_deliver(one_week, tmp_path):
    target = tmp_path / "out"
    result = call(deliver, one_week, "-o", target, "--deliverer", "Ada", "--email", "ada@example.org")
    assert result.exit_code == 0
    assert "2 files with form" in result.stdout
    assert (target / "deliveryform.txt").read_text().startswith(" 1-Name of deliverer: Ada")


def test_deliver_with_the_configuration(one_week, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"delivery_directory: {tmp_path / 'deliveries'}\ndeliverers: [Ada, Emmy]\nemail: ada@example.org\n"
    )
    call(deliver, one_week, "--config", config)
    text = (tmp_path / "deliveries" / "14825_08" / "deliveryform.txt").read_text()
    assert "Ada, Emmy" in text
    assert "ada@example.org" in text


def test_deliver_without_a_folder(one_week):
    with pytest.raises(ConfigurationError, match="delivery_directory"):
        call(deliver, one_week)


def test_deliver_sends_only_when_asked_and_knows_to_whom(one_week, tmp_path, monkeypatch):
    import refstis.delivery.month as month

    sent = []
    monkeypatch.setattr(month, "send_mail", lambda *words, **given: sent.append((words, given)))
    call(deliver, one_week, "-o", tmp_path / "one", "--deliverer", "Ada")
    assert sent == []
    with pytest.raises(ConfigurationError, match="nobody to send to"):
        call(deliver, one_week, "-o", tmp_path / "two", "--deliverer", "Ada", "--send")
    config = tmp_path / "config.yaml"
    config.write_text("email: ada@example.org\nsmtp_user: ada\nsmtp_security: starttls\n")
    monkeypatch.setenv("REFSTIS_SMTP_PASSWORD", "")
    with pytest.raises(ConfigurationError, match=r"no password of ada at smtp\.stsci\.edu"):
        call(deliver, one_week, "-o", tmp_path / "two", "--deliverer", "Ada", "--send", "--config", config)
    assert not (tmp_path / "two").exists()
    words = ["--send", "--smtp", "mail.example.org", "--to", "team@example.org", "--email", "ada@example.org"]
    call(deliver, one_week, "-o", tmp_path / "three", "--deliverer", "Ada", *words)
    (((subject, text), given),) = sent
    assert given["server"] == MailServer("mail.example.org")
    assert "three" in subject
    assert text.startswith(" 1-Name of deliverer: Ada")
    assert (given["sender"], given["recipients"]) == ("ada@example.org", ["team@example.org"])
