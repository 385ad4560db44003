import gzip
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.anneal import exposures
from refstis.anneal.exposures import (
    Exclusion,
    Exposure,
    find_raws,
    read_exposure,
    remove_duplicates,
    screen_group,
    select,
)
from refstis.anneal.headers import read_headers
from refstis.anneal.policy import load_policy, load_profile
from refstis.datamodels.blocks import LONGEST_SIDE
from refstis.errors import ConfigurationError, InputError

POLICY = load_policy()


# ------------------------------------------------------------------ headers


def test_headers_are_those_that_astropy_reads(tmp_path, write_raw):
    text = {"PR_INV_L": "O'Brien's", "LINENUM": "02.005", "CAL_VER": "", "PHOTMODE": "D" * 68}
    path = write_raw(tmp_path / "oabc01aaq_raw.fits", primary={**text, "PROCTIME": 5.279415092593e04})
    headers = read_headers(path)
    assert headers.fault == ""
    with fits.open(path) as hdus:
        assert len(hdus) == len(headers.units)
        for hdu, unit in zip(hdus, headers.units, strict=True):
            expected = {
                card.keyword: card.value for card in fits.Header.fromstring(hdu.header.tostring()).cards
            }
            found = {key: value for key, value in unit.keywords.items() if key in expected}
            assert found == {key: value for key, value in expected.items() if key in found}
            assert set(expected) - set(found) <= {"", "COMMENT", "HISTORY", "CONTINUE"}
            assert unit.data_offset == hdu.fileinfo()["datLoc"]


@pytest.mark.parametrize("left", [0.5, 0.9])
def test_a_file_that_is_cut_while_it_is_read_is_at_fault(tmp_path, write_raw, monkeypatch, left):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits")

    def then_cut(name):
        headers = read_headers(name)
        last = headers.extensions("SCI")[-1]
        os.truncate(name, last.data_offset + int(left * last.data_size) + 1)
        return headers

    monkeypatch.setattr(exposures, "read_headers", then_cut)
    assert read_exposure(path).fault.startswith("was cut short while it was read")


def test_values_of_all_kinds_are_read(tmp_path):
    cards = [
        "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0",
        "DOUBLE  =         1.5D+03 / Fortran", "QUOTED  = 'it''s / not a comment'", "EMPTY   = ''",
        "NOTHING =                      / undefined", "NEGATIVE=                  -12", "FALSE   =     F",
        "OPEN    = 'no end", "TWICE   = 1", "TWICE   = 2", "ESCAPE  = 'a\x1b[31m'", "END",
    ]  # fmt: skip
    path = tmp_path / "x.fits"
    path.write_bytes("".join(card.ljust(80) for card in cards).encode("latin-1").ljust(2880))
    found = read_headers(path).primary
    assert {key: found[key] for key in list(found)[3:]} == {
        "DOUBLE": 1500.0, "QUOTED": "it's / not a comment", "EMPTY": "", "NOTHING": None, "NEGATIVE": -12,
        "FALSE": False, "OPEN": "no end", "TWICE": 1, "ESCAPE": "a\\x1b[31m",
    }  # fmt: skip


def test_a_gzipped_file_reads_the_same(tmp_path, write_raw):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits")
    packed = tmp_path / "packed_raw.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, unpacked = read_exposure(path), read_exposure(packed)
    assert replace(unpacked, path=plain.path, checksum=plain.checksum) == plain
    packed.write_bytes(packed.read_bytes()[:-300])
    cut = read_exposure(packed)
    assert cut.fault == "truncated: the gzipped file has no end"
    assert cut.target == plain.target


def test_nothing_but_headers_is_read(tmp_path, write_raw, monkeypatch):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits", shape=(1044, 1062), imsets=4)
    counted = 0
    plain_open = Path.open

    def counting(self, *arguments, **options):
        handle = plain_open(self, *arguments, **options)
        plain_read = handle.read

        class Counting:
            def __getattr__(self, name):
                return getattr(handle, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                handle.close()

            def read(self, *size):
                nonlocal counted
                data = plain_read(*size)
                counted += len(data)
                return data

        return Counting()

    monkeypatch.setattr(Path, "open", counting)
    assert len(read_headers(path).extensions("SCI")) == 4
    assert counted < 13 * 3 * 2880 < path.stat().st_size / 50


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_the_bytes_are_there_is_an_answer(data, tmp_path_factory, write_raw):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    good = folder / "oabc01aaq_raw.fits"
    if not good.exists():
        write_raw(good)
    content = bytearray(good.read_bytes())
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=40)
    ):
        content[position] = value
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = folder / "oabc02aaq_raw.fits"
    path.write_bytes(content[:cut])
    found = read_exposure(path)
    assert isinstance(select(found, POLICY), str | Exclusion)
    assert Exposure.from_facts(found.path, found.checksum, found.facts()) == found
    # without NEXTEND nothing tells of image sets that are cut off as a whole
    if cut < len(content) - 2880 and (found.fault or "NEXTEND" in read_headers(path).primary):
        assert found.fault


@settings(max_examples=150, deadline=None)
@given(cards=st.lists(st.tuples(st.sampled_from(
    ["BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "EXPSTART", "CCDGAIN", "TEXPTIME", "LTV1",
     "BSCALE", "BZERO", "EXTNAME", "XTENSION", "NEXTEND", "MEANBLEV"]), st.one_of(
    st.integers(-(10**20), 10**20).map(str), st.floats().map(str), st.sampled_from(["T", "'x'", "", "1E999", "-"]))),
    max_size=6))  # fmt: skip
def test_whatever_the_values_are_there_is_an_answer(cards, tmp_path_factory, write_raw):
    folder = tmp_path_factory.getbasetemp() / "values"
    folder.mkdir(exist_ok=True)
    good = folder / "oabc01aaq_raw.fits"
    if not good.exists():
        write_raw(good, imsets=1)
    content = good.read_bytes()
    for name, value in cards:
        head, found, tail = content.partition(f"{name:8}=".encode())
        if found:
            content = head + f"{name:8}= {value}".ljust(80)[:80].encode() + tail[71:]
    path = folder / "oabc02aaq_raw.fits"
    path.write_bytes(content)
    assert isinstance(select(read_exposure(path), POLICY), str | Exclusion)


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "oabc01aaq_raw.fits")
    with pytest.raises(InputError, match="not a file"):
        read_headers(tmp_path / "oabc01aaq_raw.fits")
    with pytest.raises(OSError, match="not a regular file"):
        read_exposure(tmp_path / "oabc01aaq_raw.fits")


# ------------------------------------------------------------------ faults of files


def test_a_sound_raw(tmp_path, write_raw):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits", "DARK", 56430.5, 2, level=1483)
    found = read_exposure(path)
    assert found.fault == ""
    assert (found.rootname, found.target, found.proposal) == ("oabc01aaq", "DARK", "13132")
    assert (found.begin, found.imsets, found.exposure_time, found.size) == (56430.5, 2, 1100.0, (40, 12))
    assert found.references["CCDTAB"] == "oref$16j1600do_ccd.fits"
    assert found.level == pytest.approx((1483, 1483), abs=4)
    assert found.rms == pytest.approx((6, 6), abs=2)
    assert found.saturated == (0.0, 0.0)


def test_an_image_of_no_detector_is_not_read(tmp_path, write_raw):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits", imsets=1)
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data = np.zeros((12, LONGEST_SIDE + 1), dtype=np.int16)
    found = read_exposure(path)
    assert (found.imsets, found.level, found.fault) == (1, (), "")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_an_extension(path):
    path.write_bytes(path.read_bytes()[: read_headers(path).units[-1].data_offset - 2880])


def empty(path):
    path.write_bytes(b"")


def page_of_an_archive(path):
    path.write_bytes(b"<html><body>503 Service Unavailable</body></html>" * 100)


def remove_keywords(path):
    for name in ("CCDGAIN", "TEXPTIME"):
        fits.delval(path, name)


def text_for_a_number(path):
    fits.setval(path, "EXPSTART", value="soon", ext=1)


def other_size(path):
    with fits.open(path) as hdus:
        hdus[4].data = np.zeros((5, 5), np.uint16)
        hdus.writeto(path, overwrite=True)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (truncate, "truncated"),
        (lose_an_extension, "5 extensions, NEXTEND says 6"),
        (empty, "is empty; download it again"),
        (page_of_an_archive, "is not a FITS file; download it again"),
        (remove_keywords, "no usable CCDGAIN, TEXPTIME in its headers"),
        (text_for_a_number, "no usable EXPSTART in its headers"),
        (other_size, "its imsets differ in size"),
    ],
)
def test_a_broken_file_is_an_exclusion_with_its_fault(tmp_path, write_raw, spoil, fault):
    path = write_raw(tmp_path / "oabc01aaq_raw.fits")
    spoil(path)
    found = read_exposure(path)
    assert fault in found.fault
    excluded = select(found, POLICY)
    assert excluded.fault
    assert excluded.name == "oabc01aaq_raw.fits"
    assert "again" in excluded.reason or "replace the file" in excluded.reason


@pytest.mark.parametrize(
    ("primary", "sci", "reason"),
    [
        ({}, {"EXPFLAG": "INTERRUPTED"}, "EXPFLAG of imset 1 is INTERRUPTED, expected NORMAL"),
        ({}, {"IMSET_OK": False}, "IMSET_OK of imset 1 is F"),
        ({"CCDAMP": "A"}, {}, "CCDAMP A, expected D"),
        ({"SUBARRAY": True}, {}, "SUBARRAY T, expected a full frame"),
        ({"DETECTOR": "NUV-MAMA"}, {}, "STIS NUV-MAMA, expected STIS CCD"),
        ({"TARGNAME": "NGC1068"}, {}, "TARGNAME NGC1068, expected BIAS or DARK"),
        ({"CCDGAIN": 8}, {}, "superbiases of gain 8, 1x1 are not made: the policy has no such mode"),
        ({"TEXPTIME": 100.0}, {}, "a bias of 100 s, expected less than 100 s"),
    ],
)
def test_keywords_exclude_with_the_value_and_what_was_expected(tmp_path, write_raw, primary, sci, reason):
    found = select(
        read_exposure(write_raw(tmp_path / "oabc01aaq_raw.fits", primary=primary, sci=sci)), POLICY
    )
    assert found.reason.startswith(reason)
    assert str(found).startswith(f"oabc01aaq_raw.fits left out: {reason}")
    assert found.fault == ("imset" in reason)


DARKS = [
    # begun, total, of each imset, taken. Exposure times of the dark programmes by year.
    ("1997-03-01", 1800.0, (1800.0,), True),
    ("1997-06-13", 1350.0, (1350.0,), True),
    ("1998-01-01", 1260.0, (1260.0,), True),
    ("1999-06-27", 960.0, (960.0,), True),
    ("1999-06-28", 960.0, (960.0,), False),
    ("1999-06-28", 1100.0, (1100.0,), True),
    ("1997-06-13", 1100.0, (1100.0,), False),
    ("2013-05-20", 1100.0, (1100.0,), True),
    ("2013-05-20", 1000.0, (1000.0,), True),
    ("2013-05-20", 1200.0, (1200.0,), True),
    ("2013-05-20", 60.0, (60.0,), False),
    ("2013-05-20", 1800.0, (1800.0,), False),
    ("2023-09-29", 1100.0, (550.0, 550.0), True),
    ("2023-09-29", 2200.0, (1100.0, 1100.0), True),
    ("2023-09-29", 1700.0, (1100.0, 600.0), False),
]


@pytest.mark.parametrize(("date", "total", "each", "taken"), DARKS)
def test_darks_by_epoch(exposure, date, total, each, taken):
    from refstis.anneal.dates import parse_date

    found = select(
        exposure("oabc01aaq", "DARK", parse_date(date), len(each), exposure_time=total, exposure_times=each),
        POLICY,
    )
    assert (found == "dark") is taken
    if not taken:
        assert found.reason.startswith(f"a dark of {total:g} s, expected ")


def test_darks_of_other_modes_are_left_out(exposure):
    assert select(exposure("a", "DARK", gain=4), POLICY).reason == "CCDGAIN 4, expected 1"
    assert select(exposure("a", "DARK", xbin=2, ybin=2), POLICY).reason == "binning 2x2, expected 1x1"


# ------------------------------------------------------------------ folders and duplicates


def test_raws_are_found_once_in_all_folders(tmp_path, write_raw):
    (tmp_path / "a" / "b c").mkdir(parents=True)
    for name in (
        "x_raw.fits",
        "a/y_raw.fits",
        "a/b c/z'\"_raw.fits",
        "a/x_flt.fits",
        "a/.z_raw.fits",
        "a/z_raw.txt",
    ):
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_raws(tmp_path) == [
        str(tmp_path / name) for name in ("a/b c/z'\"_raw.fits", "a/y_raw.fits", "x_raw.fits")
    ]
    with pytest.raises(ConfigurationError, match="is not a folder"):
        find_raws(tmp_path / "x_raw.fits")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, close_folders):
    (tmp_path / "closed").mkdir()
    close_folders("closed")
    with pytest.raises(InputError, match=r"closed: cannot be listed \(Permission denied\)"):
        find_raws(tmp_path)


def test_one_file_of_each_exposure_is_kept(exposure):
    first = exposure("oabc01aaq", path="/a/oabc01aaq_raw.fits")
    copy = replace(first, path="/b/oabc01aaq_raw.fits")
    newer = replace(first, path="/c/oabc01aaq_raw.fits", checksum="f" * 64, made="2025-01-01")
    broken = replace(
        newer, path="/d/oabc01aaq_raw.fits", checksum="e" * 64, made="2026-01-01", fault="truncated"
    )
    kept, left_out = remove_duplicates([broken, copy, newer, first])
    assert kept == [newer]
    assert {one.path[:2]: one.reason[:16] for one in left_out} == {
        "/a": "another version ", "/b": "another version ", "/d": "another version ",
    }  # fmt: skip
    kept, left_out = remove_duplicates([copy, first])
    assert kept == [first]
    assert left_out[0].reason == "a copy of /a/oabc01aaq_raw.fits"


# ------------------------------------------------------------------ screening


def group(exposure, **last):
    members = [
        exposure(f"o{n}", level=(1480.0 + n % 3, 1481.0), rms=(6.0, 6.1), saturated=(0.0,)) for n in range(9)
    ]
    return [*members, exposure("odd", **{"level": (1480.0,), "rms": (6.0,), "saturated": (0.0,), **last})]


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ({"level": (1480.0, 1500.0)}, "bias level 1500.0 DN, its group has 1481.0 and 10.0 is allowed"),
        ({"rms": (9.0,)}, "rms 9.0 DN, its group has 6.0 and 2.0 is allowed"),
        ({"saturated": (0.0, 0.25)}, "25.0% of it is saturated, 1.0% is allowed"),
    ],
)
def test_statistics_are_cautions_unless_the_limits_say_exclude(exposure, tmp_path, odd, text):
    members = group(exposure, **odd)
    kept, cautions, excluded = screen_group(members, POLICY)
    assert kept == members
    assert excluded == []
    assert {name: [line.replace("6.1", "6.0") for line in lines] for name, lines in cautions.items()} == {
        "odd": [f"odd_raw.fits: {text}"]
    }
    (tmp_path / "policy.yaml").write_text(
        "screening: {level: {action: exclude}, rms: {action: exclude}, saturated: {action: exclude}}\n"
    )
    kept, cautions, excluded = screen_group(members, load_profile(str(tmp_path)).policy)
    assert kept == members[:-1]
    assert cautions == {}
    assert [(one.name, one.fault) for one in excluded] == [("odd_raw.fits", True)]


def test_an_ordinary_group_and_a_small_one_pass(exposure):
    assert screen_group(group(exposure), POLICY)[1] == {}
    small = [exposure("a", level=(1480.0,)), exposure("b", level=(1600.0,))]
    assert screen_group(small, POLICY)[1] == {}


# ------------------------------------------------------------------ policy


def test_thresholds_are_those_of_the_heritage():
    heritage = {
        (1, 1, 1): 98, (1, 1, 2): 25, (1, 2, 1): 25, (1, 2, 2): 7, (1, 4, 1): 7, (1, 4, 2): 4, (4, 1, 1): 1,
    }  # fmt: skip
    assert {(one.gain, one.xbin, one.ybin): one.refbias_from for one in POLICY.superbias} == heritage
    divisions = {(one.gain, one.xbin, one.ybin): one.division for one in POLICY.superbias}
    assert {mode for mode, division in divisions.items() if division == "WK"} == {(1, 1, 1)}
    assert POLICY.superbias_mode(1, 4, 4) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sublist_above: 3", "sublist_above: Extra inputs are not permitted"),
        ("minimum_imsets: 1", "minimum_imsets: Input should be greater than or equal to 2"),
        ("screening: {level: {action: shout}}", "screening.level.action"),
        ("selection: {dark: {exposure_times: [{from: 1999-06-01}]}}", "selection.dark.exposure_times.0"),
        ("- a list", "a mapping of policy keys was expected"),
        ("{", "cannot be read as YAML"),
    ],
)
def test_a_wrong_policy_names_file_and_key(tmp_path, text, message):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")) as caught:
        load_profile(str(tmp_path))
    assert str(tmp_path / "policy.yaml") in str(caught.value)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ConfigurationError, match="no profile 'nowhere': expected heritage"):
        load_profile("nowhere")


def test_parameters_come_from_the_profile(tmp_path):
    import asdf

    asdf.AsdfFile({"parameters": {"a": (1, 2)}, "steps": [{"name": "crcorr"}], "class": "x"}).write_to(
        tmp_path / "weekdark.asdf"
    )
    profile = load_profile(str(tmp_path))
    assert profile.parameters("weekdark") == {"parameters": {"a": [1, 2]}, "steps": [{"name": "crcorr"}]}
    assert profile.parameters("basedark") == load_profile().parameters("basedark")
    assert profile.parameters("nothing") == {}
    (tmp_path / "basebias.asdf").write_bytes(struct.pack("d", 1.0))
    with pytest.raises(ConfigurationError, match="is no ASDF parameter file"):
        profile.parameters("basebias")
