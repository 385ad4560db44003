"""CRDS's own code accepts every product, at both depths, and refuses what is wrong."""

import os
import shutil
import stat

import pytest
from astropy.io import fits

from refstis.delivery.certification import certify_files, certify_log
from refstis.delivery.products import find_products
from refstis.errors import ConfigurationError, InputError

HEADER = {"observatory": "HST", "parkey": ("INSTRUME",), "derived_from": "none", "sha1sum": "none"}
BIAS_KEYS = (("CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2"), ("DATE-OBS", "TIME-OBS"))
DARK_KEYS = (("DETECTOR", "CCDAMP", "CCDGAIN"), ("DATE-OBS", "TIME-OBS"))


def write_mapping(path, mapping, header, selector):
    """A mapping as CRDS writes it, with the checksum that it insists on."""
    from crds.refactoring import checksum

    lines = "".join(
        f"    {key!r} : {value!r},\n"
        for key, value in {"mapping": mapping, "name": path.name, **header}.items()
    )
    path.write_text(f"header = {{\n{lines}}}\n\nselector = {selector}\n", encoding="utf-8")
    checksum.update_checksum(str(path))


def rules(matches):
    """A selector of one file for each mode."""
    rows = "".join(
        f"    {match!r} : UseAfter({{\n        '2009-05-01 00:00:00' : {name!r},\n    }}),\n"
        for match, name in matches
    )
    return f"Match({{\n{rows}}})\n"


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A cache with a context of two kinds of files, in the format of CRDS's own rules."""
    cache = tmp_path_factory.mktemp("crds")
    folder = cache / "mappings" / "hst"
    folder.mkdir(parents=True)
    common = {**HEADER, "instrument": "STIS", "rmap_relevance": "ALWAYS"}
    write_mapping(
        folder / "hst_stis_biasfile_0001.rmap",
        "REFERENCE",
        {**common, "filekind": "BIASFILE", "parkey": BIAS_KEYS, "reffile_switch": "NONE"},
        rules(
            [
                (("D", "1.0", "3.0", "1.0", "1.0"), "x6e1332po_bia.fits"),
                (("D", "4.0", "3.0", "1.0", "1.0"), "x6e1332qo_bia.fits"),
            ]
        ),
    )
    write_mapping(
        folder / "hst_stis_darkfile_0001.rmap",
        "REFERENCE",
        {**common, "filekind": "DARKFILE", "parkey": DARK_KEYS, "reffile_switch": "NONE"},
        rules([(("CCD", "A|B|C|D", "1.0|2.0|4.0|8.0"), "x6e13331o_drk.fits")]),
    )
    files = {"biasfile": "hst_stis_biasfile_0001.rmap", "darkfile": "hst_stis_darkfile_0001.rmap"}
    write_mapping(
        folder / "hst_stis_0001.imap",
        "INSTRUMENT",
        {**HEADER, "instrument": "STIS", "parkey": ("REFTYPE",)},
        repr(files),
    )
    write_mapping(folder / "hst_0001.pmap", "PIPELINE", HEADER, repr({"STIS": "hst_stis_0001.imap"}))
    return cache


def test_every_product_passes_offline(months):
    found = certify_files(find_products(months.now, baselines=True))
    assert [(one.name, one.errors) for one in found if not one.passed] == []
    assert all("conforms to FITS standards" in " ".join(one.log) for one in found)
    assert certify_log(found).count("passed (values of keywords)") == len(found) == 7


@pytest.mark.parametrize(
    ("keyword", "value", "word"),
    [
        ("CCDGAIN", 3, "CCDGAIN"),
        ("USEAFTER", "2017-07-05", "USEAFTER"),
        ("PEDIGREE", "MADE UP", "PEDIGREE"),
        ("DESCRIP", None, "DESCRIP"),
        ("INSTRUME", "COS", ""),
    ],
)
def test_wrong_keyword_is_an_error(keyword, value, word, months, tmp_path):
    bad = tmp_path / "weekbias_bia.fits"
    shutil.copy(months.product("_wk01_bia.fits"), bad)
    with fits.open(bad, mode="update") as hdus:
        if value is None:
            del hdus[0].header[keyword]
        else:
            hdus[0].header[keyword] = value
    (found,) = certify_files([bad])
    assert not found.passed
    assert word in " ".join(found.errors)
    assert "FAILED" in certify_log([found])


def test_full_depth_against_a_context(months, context, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(context))
    found = certify_files(find_products(months.now), context="hst_0001.pmap")
    assert [(one.name, one.errors) for one in found if not one.passed] == []
    assert {one.context for one in found} == {"hst_0001.pmap"}
    assert any("hst_stis_darkfile_0001.rmap" in line for one in found for line in one.log)


def test_full_depth_finds_files_that_exclude_each_other(months, context, monkeypatch, tmp_path):
    monkeypatch.setenv("CRDS_PATH", str(context))
    dark = months.product("_wk02_drk.fits")
    twin = tmp_path / "weekdark_14825_08_wk03_drk.fits"
    shutil.copy(dark, twin)
    found = certify_files([dark, twin], context="hst_0001.pmap")
    assert not any(one.passed for one in found)


@pytest.mark.parametrize("name", ["latest", "hst_9999.pmap"])
def test_a_context_that_is_nowhere_is_an_error_and_not_the_end(name, months, monkeypatch, tmp_path):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"{name}: CRDS cannot load this context .*CRDS_PATH"):
        certify_files([months.product("_wk01_bia.fits")], context=name)


def test_what_fitsverify_says_counts(months, monkeypatch, tmp_path):
    program = tmp_path / "fitsverify"
    program.write_text("#!/bin/sh\necho '*** Error:   wrong card'\necho '*** Warning: odd card'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (found,) = certify_files([months.product("_wk01_bia.fits")])
    assert found.errors == ["fitsverify: *** Error:   wrong card"]
    assert found.warnings == ["fitsverify: *** Warning: odd card"]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        certify_files([tmp_path / "none_bia.fits"])
