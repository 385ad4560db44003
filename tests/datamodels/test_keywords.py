"""Keywords under layers of changes, and the digits that a header keeps."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.datamodels.keywords import Keywords, header_double, header_float


@pytest.fixture
def header():
    made = fits.Header([("CCDAMP", "D  ", "amplifier"), ("GAIN", 1), ("EMPTY", None)])
    made.add_history("first line")
    made.add_history("")
    made.add_history("third line")
    return made


def test_reading(header):
    keywords = Keywords(header)
    assert keywords["CCDAMP"] == "D"
    assert keywords.get("EMPTY", "nothing") == "nothing"
    assert keywords.get("MISSING") is None
    assert keywords.history == ("first line", "", "third line")
    with pytest.raises(KeyError):
        _ = keywords["MISSING"]


def test_changes_lie_on_top(header):
    keywords = Keywords(header)
    changed = keywords.changed({"GAIN": 4, "NEW": (2.5, "its comment"), "CCDAMP": None}, ["fourth line"])
    assert (changed["GAIN"], changed["NEW"]) == (4, 2.5)
    assert "CCDAMP" not in changed
    assert "NEW" in list(changed)
    assert changed.history == ("first line", "", "third line", "fourth line")
    written = changed.header()
    assert written.comments["NEW"] == "its comment"
    assert "CCDAMP" not in written
    assert [str(line) for line in written["HISTORY"]] == ["first line", "", "third line", "fourth line"]
    # and what lies below is as it was
    assert (keywords["GAIN"], keywords["CCDAMP"], len(keywords.history)) == (1, "D", 3)
    assert header["GAIN"] == 1
    assert changed.changed({"CCDAMP": "A"})["CCDAMP"] == "A"


@given(st.floats(-(2.0**90), 2.0**90, width=32))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_floats_have_eight_digits(value):
    found = header_float(value)
    assert found == float(f"{value:.7E}")
    assert header_float(np.float32(found)) == float(f"{np.float32(found):.7E}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(6.24, 6.2399998), (4.016, 4.0159998), (12.3456789, 12.345679), (-0.0, 0.0), (1 / 3, 0.33333334)],
)
def test_floats_by_hand(value, expected):
    assert header_float(value) == expected


def test_doubles_have_thirteen_digits_and_no_negative_zero():
    assert header_double(57910.19038194123456) == 57910.19038194
    assert str(header_double(-0.0)) == "0.0"
    assert str(header_float(-0.0)) == "0.0"
