"""Associations in every form, the parts that files play, and members that cannot be combined."""

import json
import os

import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from frames import association, write_raw, write_reference

from refstis.datamodels.association import Association, ExposureLibrary
from refstis.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Two biases, two darks, and reference files of each part."""
    for number in (1, 2):
        write_raw(tmp_path / f"ob0{number}010_raw.fits", "BIAS", seed=number)
        write_raw(tmp_path / f"od0{number}010_raw.fits", "DARK", seed=10 + number)
    sci = [[0.0] * 4] * 3
    write_reference(tmp_path / "super_bia.fits", sci, primary={"TASKNAME": "refbias"})
    write_reference(tmp_path / "base_bia.fits", sci, primary={"TASKNAME": "BASEJOIN"})
    write_reference(
        tmp_path / "base_drk.fits", sci, primary={"FILETYPE": "DARK IMAGE", "TASKNAME": "BASEDARK"}
    )
    return tmp_path


def names(library):
    return [exposure.name for exposure in library]


# -------------------------------------------------------------- forms


PRODUCT = {
    "products": [
        {
            "name": "weekdark_14819_52_wk01_drk",
            "members": [
                {"expname": "od02010_raw.fits", "exptype": "dark"},
                {"expname": "od01010_raw.fits", "exptype": "dark"},
                {"expname": "base_drk.fits", "exptype": "basedark"},
                {"expname": "super_bia.fits", "exptype": "superbias"},
            ],
        }
    ]
}


@pytest.mark.parametrize("form", ["json", "yaml", "json in yaml's clothes"])
@pytest.mark.parametrize("name", ["inputs.asn", "inputs.txt", "inputs.fits"])
def test_products_and_members(folder, form, name):
    text = json.dumps(PRODUCT) if form.startswith("json") else yaml.safe_dump(PRODUCT)
    (folder / name).write_text(text if form != "json in yaml's clothes" else f"# made by hand\n{text}\n")
    found = Association.open(folder / name)
    assert found.name == "weekdark_14819_52_wk01_drk"
    library = ExposureLibrary.open(found, "dark")
    assert names(library) == ["od02010_raw.fits", "od01010_raw.fits"]  # in the association's order
    assert {role: path.name for role, path in library.references.items()} == {
        "basedark": "base_drk.fits",
        "superbias": "super_bia.fits",
    }
    assert all(path.is_absolute() for path in library.references.values())


def test_plain_list(folder):
    (folder / "inputs.asn").write_text(
        "# the darks of a week\nod01010_raw.fits\n\n  od02010_raw.fits  # the second\n"
        "base_drk.fits\nbase_bia.fits\nsuper_bia.fits\n"
    )
    library = ExposureLibrary.open(folder / "inputs.asn", "dark")
    assert library.association.name is None
    assert names(library) == ["od01010_raw.fits", "od02010_raw.fits"]
    # what the others are, their headers tell
    assert {role: path.name for role, path in library.references.items()} == {
        "basedark": "base_drk.fits",
        "basebias": "base_bia.fits",
        "superbias": "super_bia.fits",
    }


def test_a_list_of_one_name(folder):
    (folder / "one.txt").write_text("ob01010_raw.fits\n")
    assert names(ExposureLibrary.open(folder / "one.txt", "bias")) == ["ob01010_raw.fits"]


def write_asn(path, rows):
    table = Table(rows=[{"MEMNAME": n, "MEMTYPE": t, "MEMPRSNT": True} for n, t in rows])
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table)]).writeto(path)
    return path


def test_association_table_of_exposures(folder):
    path = write_asn(
        folder / "ob01010_asn.fits",
        [
            ("OB01010", "CR-SPLIT"),
            ("OB02010", "CRSPLIT"),
            ("OB09010", "PROD-CRSPLIT"),
            ("OB08010", "AUTO-WAVECAL"),
        ],
    )
    library = ExposureLibrary.open(path, "bias")
    assert names(library) == ["ob01010_raw.fits", "ob02010_raw.fits"]
    assert library.association.name is None


def test_association_table_whose_exposures_lie_in_the_product(folder):
    path = write_asn(
        folder / "x_asn.fits", [("OB01A1Q", "CRSPLIT"), ("OB01A2Q", "CRSPLIT"), ("OB01010", "PROD-CRSPLIT")]
    )
    assert names(ExposureLibrary.open(path, "bias")) == ["ob01010_raw.fits"]


def test_association_table_prefers_raw_files(folder):
    write_raw(folder / "ob01010_flt.fits")
    path = write_asn(folder / "x_asn.fits", [("OB01010", "EXP-BIAS")])
    assert names(ExposureLibrary.open(path, "bias")) == ["ob01010_raw.fits"]
    (folder / "ob01010_raw.fits").unlink()
    assert names(ExposureLibrary.open(path, "bias")) == ["ob01010_flt.fits"]


def test_association_table_without_its_files(folder):
    path = write_asn(folder / "x_asn.fits", [("OZ01010", "EXP-BIAS")])
    with pytest.raises(InputError, match=r"x_asn\.fits: no raw, flt or crj file of oz01010 .*Retrieve"):
        Association.open(path)


def test_an_image_is_an_association_of_its_own(folder):
    library = ExposureLibrary.open(folder / "ob01010_raw.fits", "bias")
    assert names(library) == ["ob01010_raw.fits"]


def test_lists_of_paths_and_of_exposures(folder):
    files = [folder / "ob02010_raw.fits", str(folder / "ob01010_raw.fits")]
    library = ExposureLibrary.open(files, "bias")
    assert names(library) == ["ob02010_raw.fits", "ob01010_raw.fits"]
    assert len(ExposureLibrary.open(list(library), "bias")) == 2
    assert len(ExposureLibrary.open(library.exposures[0], "bias")) == 1
    assert ExposureLibrary.open(library, "bias") is library


def test_names_are_relative_to_the_association(folder, monkeypatch, tmp_path_factory):
    association(folder / "a.json", bias=["ob01010_raw.fits", "./ob02010_raw.fits"])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert len(ExposureLibrary.open(folder / "a.json", "bias")) == 2
    association(folder / "b.json", bias=[folder / "ob01010_raw.fits"])
    assert len(ExposureLibrary.open(os.path.relpath(folder / "b.json"), "bias")) == 1


# -------------------------------------------------------------- associations that are wrong


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "not an association"),
        ({"products": []}, "not an association"),
        ({"products": [{"name": "x"}]}, "not an association"),
        ({"products": [{"members": [{"exptype": "bias"}]}]}, "not an association"),
        ({"products": {"members": []}}, "not an association"),
        ({"products": ["x"]}, "not an association"),
        ({"products": [{"members": []}]}, "names no files"),
        ({"products": [{"members": [{"expname": "a", "exptype": "flat"}]}]}, "exptype 'flat'.*bias, dark, superbias"),
        ({"products": [{"members": [{"expname": 5, "exptype": "bias"}]}]}, "member 5"),
        ({"products": [{"name": "../x", "members": [{"expname": "a"}]}]}, "file name without folder"),
        ({"products": [{"name": "", "members": [{"expname": "a"}]}]}, "product name ''"),
        ({"products": [{"name": 5, "members": [{"expname": "a"}]}]}, "product name 5"),
        ({"products": [{"members": [{"expname": "a"}]}] * 2}, "2 products.*Split"),
        (
            {"products": [{"members": [{"expname": "ob01010_raw.fits"}, {"expname": "./ob01010_raw.fits"}]}]},
            r"twice \(as ob01010_raw\.fits\)",
        ),
    ],
)  # fmt: skip
def test_associations_that_are_wrong(folder, content, words):
    for name, text in (("a.json", json.dumps(content)), ("a.yaml", yaml.safe_dump(content))):
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=rf"{name}: .*{words}"):
            Association.open(folder / name)


def test_a_file_named_twice_through_a_link(folder):
    (folder / "link.fits").symlink_to(folder / "ob01010_raw.fits")
    with pytest.raises(InputError, match="twice"):
        Association.of_files([folder / "ob01010_raw.fits", folder / "link.fits"])
    (folder / "list").write_text("ob01010_raw.fits\nob02010_raw.fits\nob01010_raw.fits\n")
    with pytest.raises(InputError, match=r"list: names ob01010_raw\.fits twice .*Remove one"):
        Association.open(folder / "list")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "names no files"),
        (b"# only this\n", "names no files"),
        (b"\xff\xfe\x00bin", "neither text nor FITS"),
    ],
)
def test_files_that_are_no_association(tmp_path, content, words):
    (tmp_path / "a.asn").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.asn: .*{words}"):
        Association.open(tmp_path / "a.asn")


def test_an_association_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"none\.asn: no such file"):
        Association.open(tmp_path / "none.asn")
    with pytest.raises(InputError, match="cannot be read"):
        Association.open(tmp_path)


def test_broken_json_is_not_taken_for_a_list_of_names(folder):
    (folder / "a.json").write_text('{"products": [{"members": [\n{"expname": "ob01010_raw.fits"}\n')
    with pytest.raises(InputError, match=r"a\.json: not valid JSON \(.*line 3"):
        ExposureLibrary.open(folder / "a.json", "bias")


def test_a_member_that_is_missing(folder):
    association(folder / "a.json", bias=["ob01010_raw.fits", "ob77010_raw.fits"])
    with pytest.raises(InputError, match=r"ob77010_raw\.fits: no such file"):
        ExposureLibrary.open(folder / "a.json", "bias")
    association(folder / "b.json", dark=["od01010_raw.fits"], basedark="none_drk.fits")
    with pytest.raises(InputError, match=r"none_drk\.fits: no such file, named as basedark"):
        ExposureLibrary.open(folder / "b.json", "dark")


def test_a_member_whose_name_is_too_long(folder):
    association(folder / "a.json", dark=["od01010_raw.fits"], basedark=f"{'x' * 300}_drk.fits")
    with pytest.raises(InputError, match="no such file, named as basedark"):
        ExposureLibrary.open(folder / "a.json", "dark")


def test_a_second_reference_of_one_kind(folder):
    write_reference(folder / "other_drk.fits", [[0.0]], primary={"FILETYPE": "DARK IMAGE"})
    (folder / "list").write_text("od01010_raw.fits\nbase_drk.fits\nother_drk.fits\n")
    with pytest.raises(InputError, match=r"other_drk\.fits: a second basedark beside base_drk\.fits"):
        ExposureLibrary.open(folder / "list", "dark")


# -------------------------------------------------------------- members that do not fit


CASES = {
    "MAMA": ({"DETECTOR": "FUV-MAMA"}, {}, "DETECTOR is 'FUV-MAMA'; expected 'CCD'"),
    "another instrument": ({"INSTRUME": "ACS"}, {}, "INSTRUME is 'ACS'"),
    "another amplifier": ({"CCDAMP": "A"}, {}, r"CCDAMP is A; ob01010_raw\.fits has D"),
    "another gain": ({"CCDGAIN": 4}, {}, r"CCDGAIN is 4; ob01010_raw\.fits has 1"),
    "another offset": ({"CCDOFFST": 1}, {}, "CCDOFFST is 1"),
    "another binning": ({"BINAXIS1": 2}, {}, "BINAXIS1 is 2"),
    "another binning in y": ({"BINAXIS2": 2}, {}, "BINAXIS2 is 2"),
    "a gain nobody calibrates": ({"CCDGAIN": 8}, {}, "CCDGAIN is 8; reference files are made at 1 and 4"),
    "the other side": ({"TEXPSTRT": 51000.0}, {}, "other side"),
    "corrected for CTI": ({"PCTECORR": "COMPLETE"}, {}, "PCTECORR is COMPLETE"),
    "no amplifier": ({"CCDAMP": None}, {}, "CCDAMP is missing"),
    "no start": ({"TEXPSTRT": None}, {}, "TEXPSTRT is missing"),
    "no gain": ({"CCDGAIN": None}, {}, "CCDGAIN is missing"),
    "interrupted": (
        {},
        {"EXPFLAG": "INTERRUPTED"},
        "EXPFLAG of image set 1 is 'INTERRUPTED'; expected 'NORMAL'",
    ),
    "marked as bad": ({}, {"IMSET_OK": False}, "image set 1 is marked as bad"),
    "no exposure time": ({}, {"EXPTIME": None}, "EXPTIME of image set 1 is missing"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_members_that_do_not_fit(folder, case):
    primary, sci, words = CASES[case]
    write_raw(folder / "ob03010_raw.fits", primary=primary, sci=sci)
    association(folder / "a.json", bias=["ob01010_raw.fits", "ob03010_raw.fits"])
    with pytest.raises(InputError, match=rf"ob03010_raw\.fits: .*{words}"):
        ExposureLibrary.open(folder / "a.json", "bias")


def test_darks_are_no_biases(folder):
    association(folder / "a.json", bias=["od01010_raw.fits"])
    with pytest.raises(InputError, match=r"od01010_raw\.fits: TARGNAME is 'DARK'; expected 'BIAS'"):
        ExposureLibrary.open(folder / "a.json", "bias")
    with pytest.raises(InputError, match="TARGNAME is 'BIAS'; expected 'DARK'"):
        ExposureLibrary.open([folder / "ob01010_raw.fits"], "dark")


def test_what_neither_header_nor_association_tells(folder):
    write_raw(folder / "science_raw.fits", "NGC-1068")
    with pytest.raises(
        InputError, match=r"science_raw\.fits: TARGNAME is 'NGC-1068'; expected BIAS or DARK.*exptype"
    ):
        ExposureLibrary.open([folder / "science_raw.fits"], "dark")


def test_an_association_of_references_alone(folder):
    (folder / "a.txt").write_text("base_drk.fits\n")
    with pytest.raises(InputError, match=r"a\.txt: no dark exposures"):
        ExposureLibrary.open(folder / "a.txt", "dark")


@pytest.mark.parametrize("flag", ["NORMAL", "", "  "])
def test_ordinary_exposures(folder, flag):
    write_raw(folder / "ob03010_raw.fits", sci={"EXPFLAG": flag, "IMSET_OK": True})
    assert len(ExposureLibrary.open([folder / "ob01010_raw.fits", folder / "ob03010_raw.fits"], "bias")) == 2


def test_images_of_different_sizes(folder):
    write_raw(folder / "ob03010_raw.fits", shape=(24, 39))
    write_raw(folder / "ob04010_flt.fits", shape=(20, 30), primary={"BLEVCORR": "COMPLETE"})
    with pytest.raises(
        InputError, match=r"ob03010_raw\.fits: image set 1 has 39 x 24 pixels; ob01010_raw\.fits has 40 x 24"
    ):
        ExposureLibrary.open([folder / "ob01010_raw.fits", folder / "ob03010_raw.fits"], "bias")
    # without overscan an exposure is smaller than the raw ones beside it
    assert len(ExposureLibrary.open([folder / "ob01010_raw.fits", folder / "ob04010_flt.fits"], "bias")) == 2
