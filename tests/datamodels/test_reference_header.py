"""The header of a reference file: what CRDS and users look for in it."""

import dataclasses
import textwrap

import numpy as np
import pytest
from frames import in_memory

from refstis.datamodels.exposure import InputRecord
from refstis.datamodels.reference_header import (
    PRODUCTS,
    ReferenceHistory,
    averaged_header,
    description,
    input_names,
    reference_keywords,
    useafter_text,
)
from refstis.errors import InputError

# MJD 60203.25 is 2023-09-16, 06:00
FIRST, LAST = 60203.25, 60205.75


def product(inputs=None, primary=(), procedure=("It was made.",)):
    made = in_memory([np.zeros((2, 2), "f4")], primary={"CCDGAIN": 1, **dict(primary)})
    inputs = inputs or (
        InputRecord("ob1_raw.fits", None, 5, FIRST, FIRST + 0.1, 14819, "CCD Bias Monitor - Part 1"),
        InputRecord("ob2_raw.fits", None, 3, LAST, LAST + 0.1, 14820, "CCD Bias Monitor - Part 2"),
    )
    return dataclasses.replace(made, inputs=tuple(inputs), procedure=procedure)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("basebias", "Baseline bias (1/D) for data taken after 2023-09-16"),
        ("refbias", "Refbias (1/D) for data taken after 2023-09-16"),
        ("weekbias", "Weekbias (1/D) for data taken after 2023-09-16"),
        ("basedark", "Baseline dark (amp=D) for data taken after 2023-09-16"),
        ("weekdark", "Weekdark (amp=D) for data taken after 2023-09-16"),
    ],
)
def test_description(kind, text):
    found = reference_keywords(PRODUCTS[kind], product())[0]["DESCRIP"]
    assert len(found) == 67
    assert found == text + "-" * (67 - len(text))


@pytest.mark.parametrize(
    ("mjd", "text"),
    [
        (60203.25, "Sep 16 2023 06:00:00"),
        (60203.0, "Sep 16 2023 00:00:00"),
        (50449.999999, "Jan 01 1997 23:59:59"),
        (57910.19038194, "Jun 06 2017 04:34:09"),
        (57910.0 + 0.5 / 86400e3, "Jun 06 2017 00:00:00"),
        (58000.0 - 1e-9, "Sep 04 2017 00:00:00"),  # within a millisecond
    ],
)
def test_useafter(mjd, text):
    assert useafter_text(mjd) == text


def test_months_are_english_whatever_the_language():
    import locale

    before = locale.setlocale(locale.LC_TIME)
    for other in ("de_DE.UTF-8", "C.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_TIME, other)
        except locale.Error:
            continue
        assert useafter_text(58818.0).startswith("Dec 01 2019")
    locale.setlocale(locale.LC_TIME, before)


def test_dates():
    header, _ = reference_keywords(PRODUCTS["refbias"], product())
    assert header["USEAFTER"] == "Sep 16 2023 06:00:00"
    assert header["PEDIGREE"] == "INFLIGHT 16/09/2023 18/09/2023"
    # the order of the inputs does not matter
    reverse = reference_keywords(PRODUCTS["refbias"], product(product().inputs[::-1]))[0]
    assert (reverse["PEDIGREE"], reverse["USEAFTER"]) == (header["PEDIGREE"], header["USEAFTER"])
    other = reference_keywords(PRODUCTS["refbias"], product(), useafter=60200.0)[0]
    assert other["USEAFTER"] == "Sep 13 2023 00:00:00"
    assert "after 2023-09-13" in other["DESCRIP"]
    assert other["PEDIGREE"] == header["PEDIGREE"]


@pytest.mark.parametrize("kind", ["basedark", "weekdark"])
def test_darks_hold_for_every_mode_and_tell_their_temperature(kind):
    header, _ = reference_keywords(PRODUCTS[kind], product())
    assert [header[k] for k in ("CCDAMP", "CCDGAIN", "CCDOFFST")] == ["ANY", -1, -1]
    assert (header["REF_TEMP"], header["DRK_VS_T"]) == (18.0, 0.07)
    assert header["FILETYPE"] == "DARK IMAGE"


@pytest.mark.parametrize("kind", ["basebias", "refbias", "weekbias"])
def test_biases_hold_for_their_mode(kind):
    mode = {"CCDAMP": "B", "CCDGAIN": 4, "CCDOFFST": 3, "BINAXIS1": 2, "BINAXIS2": 4}
    for amp in ("B", "b"):
        header, _ = reference_keywords(PRODUCTS[kind], product(primary={**mode, "CCDAMP": amp}))
        assert {key: header[key] for key in mode} == mode
    assert not {"REF_TEMP", "DRK_VS_T"} & set(header)
    assert header["FILETYPE"] == "CCD BIAS IMAGE"
    assert [header[k] for k in ("OPT_ELEM", "APERTURE", "OBSTYPE")] == ["ANY"] * 3
    assert [header[k] for k in ("TELESCOP", "INSTRUME", "DETECTOR", "NEXTEND")] == ["HST", "STIS", "CCD", 3]


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("basebias", "BASEJOIN"),
        ("refbias", "refbias"),
        ("weekbias", "WEEKBIAS"),
        ("basedark", "BASEDARK"),
        ("weekdark", "WEEKDARK"),
    ],
)
def test_names_of_procedures(kind, task):
    assert reference_keywords(PRODUCTS[kind], product())[0]["TASKNAME"] == task


def test_cti_correction_is_told():
    header, _ = reference_keywords(
        PRODUCTS["basedark"],
        product(primary={"PCTECORR": "COMPLETE", "PCTETAB": "x_cte.fits", "CTE_VER": "1.2"}),
    )
    assert (header["PCTECORR"], header["PCTETAB"], header["CTE_VER"]) == ("COMPLETE", "x_cte.fits", "1.2")


def test_history():
    words = "A sentence of more than seventy-two characters, which therefore takes two lines of the history."
    _, lines = reference_keywords(PRODUCTS["weekdark"], product(procedure=("The first stage.", words)))
    text = " ".join(lines)
    assert text.startswith(
        "Weekly superdark image, combination of 8 input frames taken with CCDAMP=D, CCDGAIN=1,"
    )
    begin = lines.index("The following input files were used:")
    assert lines[begin + 1 : begin + 4] == ["ob1_raw.fits", "ob2_raw.fits", ""]
    assert "All input frames were from Proposal(s) 14819/14820:" in lines[:begin]
    assert "CCD Bias Monitor - Part 2" in lines[:begin]
    assert lines[begin + 4 :] == ["The first stage.", *textwrap.wrap(words, 72)]
    assert max(len(line) for line in lines) <= 72
    assert input_names(lines) == ["ob1_raw.fits", "ob2_raw.fits"]
    parsed = ReferenceHistory.parse(lines)
    assert (parsed.count, parsed.proposals) == (8, ("14819", "14820"))
    assert parsed.procedure == tuple(lines[begin + 4 :])


@pytest.mark.parametrize("lines", [[], ["no such list"], ["The following input files were used:"]])
def test_history_without_a_list(lines):
    assert input_names(lines) == []
    assert ReferenceHistory.parse(lines).names == ()


@pytest.mark.parametrize(("begin", "end"), [(0.0, LAST), (FIRST, 0.0)])
def test_inputs_without_dates(begin, end):
    record = InputRecord("ob7_raw.fits", None, 2, begin, end, 1, "")
    with pytest.raises(InputError, match=r"ob7_raw\.fits: TEXPSTRT or TEXPEND"):
        reference_keywords(PRODUCTS["refbias"], product((*product().inputs, record)))


# -------------------------------------------------------------- averages


def reference(names, begin, gain=1, kind="refbias", proposals=(14819,)):
    records = [InputRecord(name, None, 4, begin, begin + 0.5, proposals[0], "Bias Monitor") for name in names]
    made = product(records, primary={"CCDGAIN": gain, "CCDAMP": "D"}, procedure=(f"Made of {len(names)}.",))
    header, history = reference_keywords(PRODUCTS[kind], made)
    found = in_memory([np.zeros((2, 2), "f4")], primary=dict(header.items()))
    return dataclasses.replace(
        found, primary=found.primary.changed({"FILENAME": f"{names[0]}_bia.fits"}, history), path=None
    )


@pytest.mark.parametrize("order", [1, -1])
def test_header_of_an_average_is_made_from_both(order):
    one, two = (
        reference(["a_raw.fits", "b_raw.fits"], FIRST),
        reference(["c_raw.fits"], LAST, proposals=(14900,)),
    )
    header = averaged_header(*[one, two][::order])
    assert header["PEDIGREE"] == "INFLIGHT 16/09/2023 19/09/2023"
    assert header["USEAFTER"] == "Sep 16 2023 06:00:00"  # of the earlier one, whichever comes first
    lines = [str(line) for line in header["HISTORY"]]
    assert sorted(input_names(lines)) == ["a_raw.fits", "b_raw.fits", "c_raw.fits"]
    assert "combination of 12 input frames" in " ".join(lines[:3])
    assert sum("Bias Monitor" in line for line in lines) == 1
    assert any("14819/14900" in line or "14900/14819" in line for line in lines)
    assert {"Made of 2.", "Made of 1."} <= set(lines)


def test_files_of_different_modes_are_not_averaged():
    with pytest.raises(InputError, match=r"CCDGAIN is 4;.*has 1"):
        averaged_header(reference(["a"], FIRST), reference(["b"], LAST, gain=4))
    with pytest.raises(InputError, match="FILETYPE is 'DARK IMAGE'"):
        averaged_header(reference(["a"], FIRST), reference(["b"], LAST, kind="basedark"))


def test_files_without_dates_are_not_averaged():
    one, two = reference(["a"], FIRST), reference(["b"], LAST)
    for key, value in (("USEAFTER", "someday"), ("USEAFTER", None), ("PEDIGREE", "GROUND")):
        changed = two.changed({key: value})
        if key == "PEDIGREE":
            one = one.changed({key: value})
        with pytest.raises(InputError, match="USEAFTER or PEDIGREE"):
            averaged_header(one, changed)


def test_description_of_another_gain():
    assert description(PRODUCTS["refbias"], 4, "A", FIRST).startswith(
        "Refbias (4/A) for data taken after 2023-09-16---"
    )
