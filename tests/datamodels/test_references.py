"""Where a reference file comes from."""

import re

import pytest
from frames import ccd_row, write_raw, write_table

from refstis.datamodels.exposure import Exposure
from refstis.datamodels.references import find_reference, resolve_name
from refstis.errors import ReferenceFileError

NAME = "16j1600do_ccd.fits"


@pytest.fixture
def oref(tmp_path, monkeypatch):
    folder = tmp_path / "oref"
    folder.mkdir()
    write_table(folder / NAME, [ccd_row()])
    monkeypatch.setenv("oref", f"{folder}/")
    return folder


def exposure(folder, **primary):
    return Exposure.open(write_raw(folder / f"x{len(list(folder.iterdir()))}_raw.fits", primary=primary))


def test_override_association_header_built_in(tmp_path, oref, monkeypatch):
    raw = exposure(tmp_path)
    override, associated = (
        write_table(tmp_path / f"{n}_ccd.fits", [ccd_row()]) for n in ("override", "associated")
    )
    found = find_reference("ccdtab", raw, str(override), associated)
    assert (found.path, found.how, found.warning) == (override, "override", "")
    found = find_reference("ccdtab", raw, None, associated)
    assert (found.path, found.how) == (associated, "association")
    found = find_reference("ccdtab", raw)
    assert (found.path, found.how, found.name, found.warning) == (oref / NAME, "header", f"oref${NAME}", "")
    monkeypatch.delenv("oref")
    found = find_reference("ccdtab", raw)
    assert (found.how, found.path.name) == ("built-in", "ccdtab.ecsv")
    assert found.warning == ""  # the built-in rows are those of the table that the header names


@pytest.mark.parametrize("name", ["oref$16j1600do_ccd.fits", "$oref/16j1600do_ccd.fits"])
def test_variables_in_names(tmp_path, oref, name):
    assert find_reference("ccdtab", exposure(tmp_path, CCDTAB=name)).path == oref / NAME


def test_any_variable_that_the_header_names(tmp_path, oref, monkeypatch):
    monkeypatch.setenv("myref", str(oref))
    assert find_reference("ccdtab", exposure(tmp_path, CCDTAB=f"myref${NAME}")).how == "header"


def test_plain_paths(tmp_path, oref, monkeypatch):
    assert find_reference("ccdtab", exposure(tmp_path, CCDTAB=str(oref / NAME))).path == oref / NAME
    # relative to the exposure's folder, or to the working directory
    assert find_reference("ccdtab", exposure(tmp_path, CCDTAB=f"oref/{NAME}")).path == oref / NAME
    monkeypatch.chdir(oref)
    assert find_reference("ccdtab", exposure(tmp_path, CCDTAB=NAME)).path == oref / NAME


def test_an_override_whose_name_is_too_long(tmp_path):
    with pytest.raises(ReferenceFileError, match="no such file, given as ccdtab"):
        find_reference("ccdtab", exposure(tmp_path), "x" * 300)


def test_names():
    assert resolve_name("nosuchvariable$x.fits") == (None, "nosuchvariable")


@pytest.mark.parametrize(
    ("primary", "words"),
    [
        (
            {"CCDTAB": "oref$other_ccd.fits"},
            r"CCDTAB oref\$other_ccd\.fits: \$oref is not set; used the built-in 16j1600do_ccd",
        ),
        ({"CCDTAB": "N/A"}, r"CCDTAB N/A: CCDTAB is not in its header; used the built-in"),
        ({"CCDTAB": None}, r"CCDTAB \(none named\): .*used the built-in"),
        (
            {"CCDTAB": "/nowhere/other_ccd.fits"},
            r"/nowhere/other_ccd\.fits does not exist; used the built-in",
        ),
    ],
)
def test_another_table_than_the_header_names_is_a_warning(tmp_path, primary, words):
    found = find_reference("ccdtab", exposure(tmp_path, **primary))
    assert found.how == "built-in"
    assert re.search(words, found.warning)


def test_a_set_variable_without_the_file(tmp_path, oref):
    found = find_reference("crrejtab", exposure(tmp_path))
    assert found.how == "built-in"  # the same table: nothing to warn about
    assert found.warning == ""
    found = find_reference("ccdtab", exposure(tmp_path, CCDTAB="oref$other_ccd.fits"))
    assert "other_ccd.fits does not exist" in found.warning


def test_before_the_built_in_table_holds(tmp_path):
    with pytest.raises(
        ReferenceFileError,
        match=r"_raw\.fits: \$oref is not set.*2014-05-15.*2009-06-18.*Set \$oref.*override_ccdtab",
    ):
        find_reference("ccdtab", exposure(tmp_path, TEXPSTRT=55000.0))
    # the table of cosmic-ray rejection holds from the begin of STIS
    assert find_reference("crrejtab", exposure(tmp_path, TEXPSTRT=55000.0)).how == "built-in"
    assert find_reference("ccdtab", exposure(tmp_path, TEXPSTRT=56792.0)).how == "built-in"


@pytest.mark.parametrize("blank", ["", "N/A", "n/a", None])
def test_no_bad_pixel_table_is_asked_for(tmp_path, blank):
    found = find_reference("bpixtab", exposure(tmp_path, BPIXTAB=blank))
    assert (found.path, found.how, found.warning) == (None, "none", "")


def test_a_missing_bad_pixel_table_is_a_warning(tmp_path):
    assert "used the built-in empty table" in find_reference("bpixtab", exposure(tmp_path)).warning


@pytest.mark.parametrize(
    ("kind", "role"),
    [("biasfile", "superbias"), ("basebias", "basebias"), ("basedark", "basedark"), ("darkfile", None)],
)
def test_images_are_not_built_in(tmp_path, kind, role):
    words = rf"exptype {role}" if role else r"Set \$oref"
    with pytest.raises(ReferenceFileError, match=rf"_raw\.fits: needs a {kind} .*{words}.*override_{kind}"):
        find_reference(kind, exposure(tmp_path))


@pytest.mark.parametrize("how", ["override", "association"])
def test_a_given_file_that_is_missing(tmp_path, how):
    missing = tmp_path / "none_ccd.fits"
    given = (str(missing), None) if how == "override" else (None, missing)
    with pytest.raises(ReferenceFileError, match=rf"none_ccd\.fits: no such file, given as ccdtab \({how}\)"):
        find_reference("ccdtab", exposure(tmp_path), *given)


def test_none_may_be_given(tmp_path):
    assert find_reference("biasfile", exposure(tmp_path), "N/A").path is None


def test_best_references_are_asked_only_where_wished(tmp_path, monkeypatch):
    import crds

    asked = []

    def references(parameters, reftypes, observatory):
        asked.append((parameters["CCDAMP"], reftypes, observatory))
        return {"ccdtab": str(tmp_path / "best_ccd.fits")}

    monkeypatch.setattr(crds, "getreferences", references)
    raw = exposure(tmp_path, CCDTAB="oref$other_ccd.fits")
    assert find_reference("ccdtab", raw).how == "built-in"
    assert asked == []
    found = find_reference("ccdtab", raw, crds=True)
    assert (found.how, found.path, found.name) == ("crds", tmp_path / "best_ccd.fits", "oref$best_ccd.fits")
    assert asked == [("D", ["ccdtab"], "hst")]


def test_best_references_without_server_and_cache(tmp_path, monkeypatch):
    import crds

    def ends_the_process(*args, **kwargs):
        raise SystemExit(1)

    monkeypatch.setattr(crds, "getreferences", ends_the_process)
    with pytest.raises(ReferenceFileError, match=r"CRDS gives no ccdtab.*CRDS_SERVER_URL"):
        find_reference("ccdtab", exposure(tmp_path), crds=True)
