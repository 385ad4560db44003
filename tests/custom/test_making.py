"""What is made: the dark, the copy of the exposure, the association, the page; offline, and from the archive."""

import io
import json
import os
import re
import socket
import sys

import numpy as np
import pytest
from astropy.io import fits
from frames import checksums

from refstis.custom import make_custom_dark
from refstis.custom.choice import read_science
from refstis.custom.page import write_page
from refstis.errors import ConfigurationError, InputError, OutputError
from refstis.retrieval import RetrievalError


@pytest.fixture
def options(sky, tmp_path, custom):
    """A run that is as short as it can be: the superbias and baseline of another one."""
    return {
        "darks": sky.folder,
        "anneals": sky.anneals,
        "profile": sky.profile,
        "output": tmp_path / "custom",
        "superbias": custom[0].superbias,
        "basedark": custom[0].basedark,
    }


@pytest.fixture
def no_page(monkeypatch):
    from refstis.custom import page

    monkeypatch.setattr(page, "write_page", lambda *_, **__: None)


# ---------------------------------------------------------------------------- files


def test_inputs_are_not_touched(sky, custom):
    _, before = custom
    assert checksums(sky.folder) == before


def test_the_copy_differs_from_the_raw_in_one_card(sky, custom):
    made, _ = custom
    old, new = sky.science.read_bytes(), made.science.read_bytes()
    assert len(old) == len(new)
    cards = [at for at in range(0, len(old), 80) if old[at : at + 80] != new[at : at + 80]]
    assert len(cards) == 1
    assert new[cards[0] : cards[0] + 9] == b"DARKFILE="
    value = fits.getval(made.science, "DARKFILE")
    assert value in (str(made.dark), made.dark.name)
    # a long name cuts the comment short
    comment = fits.getheader(made.science).comments["DARKFILE"]
    assert comment == "dark image file name"[: max(65 - len(value), 0)].rstrip()


@pytest.mark.parametrize("cards", [0, 35])
def test_a_raw_without_darkfile_gets_one(cards):
    """With room left in the last block of the header, and without."""
    from refstis.custom.making import _with_card

    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("DARK", "other"), ("DARKFIL", "x")])
    for number in range(cards - 6):
        header[f"KEY{number}"] = number
    content = fits.PrimaryHDU(header=header)
    stream = io.BytesIO()
    fits.HDUList([content, fits.ImageHDU(np.arange(6.0))]).writeto(stream)
    changed = io.BytesIO(_with_card(stream.getvalue(), "DARKFILE", "it's_drk.fits"))
    with fits.open(changed) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["DARKFILE"] == "it's_drk.fits"
        assert list(hdus[0].header)[:-1] == list(content.header)
        assert hdus[1].data.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_association_makes_the_same_bytes_again(custom, tmp_path, monkeypatch):
    from stpipe import Step

    made, _ = custom
    monkeypatch.chdir(tmp_path)
    words = [str(made.dark.with_suffix(".asdf")), str(made.association), f"--output_dir={tmp_path / 'again'}"]
    Step.from_cmdline(words)
    assert (tmp_path / "again" / made.dark.name).read_bytes() == made.dark.read_bytes()


def test_the_list_of_inputs_has_every_member_with_its_checksum(sky, custom):
    made, before = custom
    record = json.loads(made.inputs.read_text())
    association = json.loads(made.association.read_text())
    members = {member["expname"]: member["exptype"] for member in association["products"][0]["members"]}
    assert {name for name, role in members.items() if role == "dark"} == {
        one["path"] for one in record["inputs"] if "dark" in one["used_for"]
    }
    assert members[made.basedark.name] == "basedark"
    assert members[made.superbias.name] == "superbias"
    for one in record["inputs"]:
        assert one["sha256"] == before[one["name"]]
        assert one["reason"]
        assert one["days"] == pytest.approx({**sky.darks, **sky.biases}[one["name"]] - sky.moment, abs=1e-4)
    everything = {one["name"] for one in record["inputs"]} | {one["name"] for one in record["left_out"]}
    first = sky.months[0]
    assert everything >= {
        name for name, begin in {**sky.darks, **sky.biases}.items() if first.begin <= begin < first.end
    }


def test_flt_and_crj_stand_for_their_exposure(sky, options, tmp_path, no_page):
    """Beside its raw, and without it."""
    folder = tmp_path / "here"
    folder.mkdir()
    flt = folder / sky.science.name.replace("_raw", "_flt")
    flt.write_bytes(sky.science.read_bytes())
    fits.setval(flt, "BLEVCORR", value="COMPLETE")
    made = make_custom_dark(flt, **options)
    assert made.science is None
    assert any("no copy of the science raw: od9e0z010_raw.fits is not beside" in one for one in made.cautions)
    (folder / sky.science.name).write_bytes(sky.science.read_bytes())
    beside = make_custom_dark(flt, **options)
    assert beside.science.name == sky.science.name
    assert beside.dark.read_bytes() == made.dark.read_bytes()


def test_the_exposure_is_never_written_over(sky, options, tmp_path):
    before = sky.science.read_bytes()
    with pytest.raises(OutputError, match="is the science exposure"):
        make_custom_dark(sky.science, **options | {"output": sky.folder})
    options["output"].mkdir()
    foreign = options["output"] / sky.science.name
    foreign.write_bytes(before)
    with pytest.raises(OutputError, match="not written over"):
        make_custom_dark(sky.science, **options)
    assert sky.science.read_bytes() == foreign.read_bytes() == before


def test_daily_changes_hot_pixels_and_says_so(sky, custom, options, no_page):
    made = make_custom_dark(sky.science, daily=True, **options)
    old, new = (fits.getdata(one.dark, ("SCI", 1)) for one in (custom[0], made))
    changed = old != new
    assert 0 < changed.sum() < 0.02 * changed.size
    limit = np.median(new) + 0.01
    assert (np.maximum(old, new)[changed] > limit).all()
    history = " ".join(fits.getheader(made.dark)["HISTORY"])
    assert f"nearest in time to MJD {sky.moment:.5f}" in history
    assert json.loads(made.inputs.read_text())["daily"] is True


# ---------------------------------------------------------------------------- the command, without network


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    from refstis.commands import main

    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["refstis", "custom-dark", *(str(word) for word in words)])
        status = 0
        try:
            main.main()
        except SystemExit as end:
            status = end.code or 0
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return call


def test_local_files_need_no_network_at_all(sky, custom, shell, monkeypatch, tmp_path):
    def no_socket(*_, **__):
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    monkeypatch.setattr(socket, "create_connection", no_socket)
    words = ("--darks", sky.folder, "--anneals", sky.anneals, "--profile", sky.profile)
    status, out, err = shell(sky.science, *words)
    assert status == 0, err
    folder = tmp_path / "od9e0z010_custom_dark"
    assert f"superdark:   {folder / 'od9e0z010_custom_drk.fits'}" in out
    assert "making the superdark of" in err
    assert (folder / "od9e0z010_custom_drk.fits").read_bytes() == custom[0].dark.read_bytes()


def test_an_error_is_one_line(sky, shell):
    status, out, err = shell(sky.science, "--darks", sky.folder / "nowhere")
    assert status == 1
    assert out == ""
    assert err.splitlines()[-1].startswith("refstis: ")
    assert "Traceback" not in err


# ---------------------------------------------------------------------------- the archive


@pytest.fixture
def mast(archive, monkeypatch):
    """The loopback archive, asked by astroquery itself."""
    from astroquery.mast import conf

    state = archive.MastServer()
    with archive.serving(archive._MastHandler, state) as address:
        state.url = f"http://{address}"
        with conf.set_temp("server", state.url):
            yield state


def fill(mast, folder, names, suffix):
    for name in names:
        header = fits.getheader(folder / name)
        root = name.split("_")[0]
        entry = mast.add(
            root.upper(),
            start=header["TEXPSTRT"],
            duration=header["TEXPTIME"],
            program=header["PROPOSID"],
            content=(folder / name).read_bytes(),
        )
        for product in entry.products:
            if product["file_suffix"] == "RAW":
                product |= {
                    "filename": f"{root}_{suffix}.fits",
                    "uri": f"{root.upper()}/{root}_{suffix}.fits",
                }


def test_the_archive_has_bias_subtracted_darks(sky, mast, calibrated, options, no_page):
    names = [name.replace("_raw", "_flt") for name in sky.near]
    fill(mast, calibrated, names, "flt")
    del options["darks"], options["superbias"]
    del options["basedark"]
    made = make_custom_dark(sky.science, **options)
    assert made.choice.state == "bias-subtracted"
    assert sorted(one.name for one in made.choice.near) == names
    assert dict(mast.finished) == dict.fromkeys(names, 1)
    assert sorted(path.name for path in (options["output"] / "darks").glob("*.fits")) == names
    make_custom_dark(sky.science, **options)
    assert dict(mast.finished) == dict.fromkeys(names, 1)


def test_with_a_superbias_the_archive_is_asked_for_raws_and_with_a_basedark_for_near_ones(
    sky, mast, options, custom, no_page
):
    first, second = sky.months
    fill(mast, sky.folder, sky.darks_between(first.begin, second.begin + 3.0), "raw")
    del options["darks"]
    made = make_custom_dark(sky.science, **options)
    assert sorted(mast.finished) == sky.near
    assert made.dark.read_bytes() == custom[0].dark.read_bytes()


def test_the_raw_of_a_calibrated_exposure_comes_from_the_archive(sky, mast, options, tmp_path, no_page):
    fill(mast, sky.folder, [*sky.near, sky.science.name], "raw")
    mast.entries[sky.science.name.split("_")[0].upper()].target = "STAR"
    flt = tmp_path / sky.science.name.replace("_raw", "_flt")
    flt.write_bytes(sky.science.read_bytes())
    fits.setval(flt, "BLEVCORR", value="COMPLETE")
    del options["darks"]
    made = make_custom_dark(flt, **options)
    assert fits.getval(made.science, "DARKFILE").endswith(made.dark.name)


def test_an_archive_that_lacks_a_dark_is_an_error(sky, mast, options):
    fill(mast, sky.folder, sky.near, "raw")
    mast.faults[sky.near[1]] = [404] * 50
    del options["darks"]
    with pytest.raises(
        RetrievalError, match=f"1 of {len(sky.near)} darks could not be fetched .{sky.near[1]}"
    ):
        make_custom_dark(sky.science, **options)


# ---------------------------------------------------------------------------- the page


def text_of(page):
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "PNG", page.read_text())


def titles(page):
    return re.findall(r"<h2>(.*?)</h2>", page.read_text())


def test_the_page_is_self_contained_and_says_what_is_left_out(custom):
    text = text_of(custom[0].page)
    assert re.findall(r'(?:src|href)="(?!PNG|data:,)[^"]*"', text) == []
    assert "http" not in text.replace("http-equiv", "")
    assert "Left out: DARKFILE is oref$" in text
    assert re.search(r"drk.fits, and /.*drk.fits is not there", text)
    assert titles(custom[0].page) == [
        "The new dark",
        "Ratio to the default dark",
        "Hot pixels that appeared and vanished",
        "A closer look",
        "Inputs",
    ]
    for name in ("anneal period", "strun od9e0z010_custom_drk.asdf od9e0z010_custom_drk_asn.json"):
        assert name in text


def test_the_ratio_is_drawn_where_the_default_dark_is_at_hand(sky, custom, options, tmp_path, monkeypatch):
    """Here the default dark is the new one with a pixel more and a pixel less that is hot."""
    default = tmp_path / "oref" / fits.getval(sky.science, "DARKFILE").partition("$")[2]
    default.parent.mkdir()
    for table in sky.oref.glob("*.fits"):
        (default.parent / table.name).write_bytes(table.read_bytes())
    default.write_bytes(custom[0].dark.read_bytes())
    with fits.open(default, mode="update") as hdus:
        sci = hdus["SCI", 1].data
        hot = np.unravel_index(np.argmax(sci), sci.shape)
        cold = np.unravel_index(np.argmin(sci), sci.shape)
        sci[hot], sci[cold] = 0.01, 5.0
    monkeypatch.setenv("oref", str(default.parent) + "/")
    made = make_custom_dark(sky.science, **options)
    text = text_of(made.page)
    assert f"divided by {default.name}; the median ratio is 1.000" in text
    rows = dict(re.findall(r'<td class="text">([^<]*)</td><td>(\d+)</td></tr>', text))
    assert (rows["appeared"], rows["vanished"]) == ("1", "1")


def test_an_unset_variable_is_the_reason(sky, custom, options, monkeypatch):
    monkeypatch.delenv("oref")
    from refstis.custom import page

    science = read_science(sky.science)
    default, reason = page._default(science, page._read(custom[0].dark))
    assert default is None
    assert reason.endswith("and $oref is not set")


# ---------------------------------------------------------------------------- recalibration


CALSTIS = """
import sys
from pathlib import Path
import numpy as np
from astropy.io import fits

name, outroot = [word for word in sys.argv[1:] if not word.startswith("-")][:2]
print("calibrating", name)
dark = fits.getval(name, "DARKFILE")
assert Path(dark).is_file(), dark
root = name.partition("_")[0]
shape = fits.getdata(dark, ("SCI", 1)).shape
flat = [fits.ImageHDU(np.random.default_rng(1).normal(5, 3, shape).astype(kind), name=name)
        for name, kind in (("SCI", "f4"), ("ERR", "f4"), ("DQ", "i2"))]
primary = fits.PrimaryHDU()
primary.header["NEXTEND"] = 3
fits.HDUList([primary, *flat]).writeto(f"{outroot}{root}_crj.fits")
wave = np.linspace(2900.0, 5700.0, 64)
columns = [fits.Column(word, "64E", array=[values]) for word, values in
           (("WAVELENGTH", wave), ("FLUX", 1e-15 * np.ones(64)), ("NET", np.ones(64)))]
fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="SCI")]).writeto(
    f"{outroot}{root}_sx1.fits")
"""


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


def test_recalibrate_without_calstis_is_one_error_before_anything_is_made(sky, options, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        ConfigurationError, match=r"--recalibrate: CALSTIS \(the program cs0.e.*conda install"
    ):
        make_custom_dark(sky.science, recalibrate=True, **options)
    assert not options["output"].exists()


def test_recalibrate_needs_the_raw(sky, options, tmp_path, monkeypatch):
    program(tmp_path, "cs0.e", CALSTIS)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    flt = tmp_path / sky.science.name.replace("_raw", "_flt")
    flt.write_bytes(sky.science.read_bytes())
    fits.setval(flt, "BLEVCORR", value="COMPLETE")
    with pytest.raises(InputError, match="--recalibrate begins with the raw"):
        make_custom_dark(flt, recalibrate=True, **options)


def test_recalibrated_spectra_and_their_difference_are_drawn(sky, options, tmp_path, monkeypatch):
    """A program in the place of CALSTIS; stistools itself calls it. The folder's name has a blank."""
    bin_folder, folder = tmp_path / "bin", tmp_path / "my data"
    bin_folder.mkdir()
    folder.mkdir()
    program(bin_folder, "cs0.e", CALSTIS)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    science = folder / sky.science.name
    science.write_bytes(sky.science.read_bytes())
    options["output"] = folder / "out put"
    made = make_custom_dark(science, recalibrate=True, **options)
    assert [path.name for path in made.recalibrated] == ["od9e0z010_crj.fits", "od9e0z010_sx1.fits"]
    assert titles(made.page)[-3:-1] == ["The exposure recalibrated", "Spectra"]
    assert "od9e0z010_sx1.fits is not beside the exposure" in text_of(made.page)
    for path in made.recalibrated:
        (folder / path.name).write_bytes(path.read_bytes())
    text = text_of(write_page(made, read_science(science), sky.months[0]))
    assert "is not beside the exposure" not in text
    assert "With the new dark minus default" in text


def test_a_calstis_that_fails_leaves_the_dark_and_says_where_the_log_is(sky, options, tmp_path, monkeypatch):
    program(tmp_path, "cs0.e", "import sys\nprint('ERROR: no PHOTTAB')\nsys.exit(111)\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        OutputError, match=r"CALSTIS failed .status 1.*calstis.log tells more: ERROR: no PHOTTAB"
    ):
        make_custom_dark(sky.science, recalibrate=True, **options)
    assert (options["output"] / "od9e0z010_custom_drk.fits").exists()
