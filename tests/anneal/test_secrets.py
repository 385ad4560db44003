"""No password and no token comes into a product, a record, a ledger or a log."""

import json
import sqlite3
from contextlib import closing

import pytest

from refstis.anneal.ledger import Ledger, without_password
from refstis.anneal.runner import Choice, run
from refstis.anneal.survey import Survey

SECRET = "sesame-geheim-4711"
URL = f"postgresql://ada:{SECRET}@host/db"


class Quiet:
    def planned(self, *_):
        pass

    started = finished = said = planned


def test_nothing_that_a_run_leaves_holds_a_secret(two_weeks, tmp_path, monkeypatch, caplog):
    for name in ("MAST_API_TOKEN", "REFSTIS_SMTP_PASSWORD", "PGPASSWORD"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("oref", str(two_weeks.oref))
    caplog.set_level("DEBUG")
    output = tmp_path / "out"
    with Ledger(output / "ledger.db") as ledger:
        survey = Survey(
            two_weeks.folder, output, ledger, anneals=two_weeks.anneals, profile=str(two_weeks.profile)
        )
        words = ["refstis", "run", "--ledger", URL, f"--ledger={URL}"]
        result = run(survey, choice=Choice(only=("basebias",)), listener=Quiet(), command=words)
    assert result.exit_status == 0
    files = [path for path in output.rglob("*") if path.is_file()]
    assert {".fits", ".asdf", ".log", ".json", ".db"} <= {path.suffix for path in files}
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in caplog.text
    # what was called is recorded all the same
    shown = "postgresql://ada:***@host/db"
    assert json.loads((output / "run.json").read_text())["command"] == [
        *words[:3],
        shown,
        f"--ledger={shown}",
    ]
    with closing(sqlite3.connect(output / "ledger.db")) as connection:
        assert shown in "".join(connection.iterdump())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:a:b/c@d@host:5432/db", "postgresql://ada:***@host:5432/db"),
        ("postgresql+psycopg://:x@host/db", "postgresql+psycopg://:***@host/db"),
        ("postgresql://host/db?password=x&user=ada", "postgresql://host/db?password=***&user=ada"),
        ("postgresql://ada@host:5432/db", "postgresql://ada@host:5432/db"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
        ("/data/raws", "/data/raws"),
    ],
)
def test_passwords_of_urls(text, shown):
    assert without_password(text) == shown
