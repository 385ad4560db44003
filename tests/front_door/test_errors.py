"""What the shell shows of an error: one line, unless somebody asks for more."""

import errno
import os

import pytest

from refstis.commands.main import app, execute, registered
from refstis.errors import InputError


def failing(error):
    def command():
        raise error

    return lambda: command


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("a.fits: is none"), 1, "refstis: a.fits: is none"),
        (MemoryError(), 1, "refstis: out of memory or threads"),
        (RuntimeError("can't start new thread"), 1, "refstis: out of memory or threads"),
        (
            ImportError("x.so: failed to map segment from shared object"),
            1,
            "refstis: out of memory or threads",
        ),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/a/b"), 1, "refstis: /a/b: Too many open files. "),
        (ZeroDivisionError("of\nlines"), 70, "refstis: ZeroDivisionError: of lines (test_errors.py, line "),
    ],
)
def test_an_error_is_one_line(error, status, says, capsys):
    with pytest.raises(SystemExit) as end:
        execute(failing(error), "refstis")
    assert end.value.code == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(says)
    assert said.err.count("\n") == 1


def test_debug_shows_where(monkeypatch, tmp_path):
    monkeypatch.setattr(app, "registered_commands", [])
    monkeypatch.setattr(app, "registered_groups", [])
    monkeypatch.setattr("sys.argv", ["refstis", "--debug", "certify", str(tmp_path / "none_bia.fits")])
    try:
        with pytest.raises(Exception, match="none_bia"):
            execute(registered, "refstis")
        monkeypatch.setattr("sys.argv", ["refstis", "certify", str(tmp_path / "none_bia.fits")])
        with pytest.raises(SystemExit):
            execute(registered, "refstis")
    finally:
        execute.__globals__["_wishes"]["tracebacks"] = False
