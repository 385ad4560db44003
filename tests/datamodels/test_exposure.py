"""Exposures: every form that pixels come in, what is written, and files that cannot be read."""

import dataclasses
import functools
import gc
import gzip
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from frames import BEGIN, arrays, checksums, in_memory, raw_frame, write_raw, write_reference
from hypothesis import given, settings
from hypothesis import strategies as st

import refstis.datamodels.exposure
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.pixels import Pixels
from refstis.errors import InputError, OutputError

SHAPE = (6, 8)


@pytest.fixture
def raw(tmp_path):
    return write_raw(tmp_path / "odbr01h1q_raw.fits", "DARK", imsets=3, shape=SHAPE, seed=4)


def write_flt(path, dq=None):
    """A calibrated exposure of two image sets with arrays in all extensions."""
    header = fits.Header({"INSTRUME": "STIS", "NEXTEND": 6, "TEXPSTRT": BEGIN, "TEXPEND": BEGIN + 1})
    hdus = [fits.PrimaryHDU(header=header)]
    generator = np.random.default_rng(1)
    for version in (1, 2):
        science = fits.ImageHDU(generator.normal(0, 5, SHAPE).astype("f4"), name="SCI", ver=version)
        science.header["EXPTIME"] = 10.0
        hdus += [
            science,
            fits.ImageHDU(generator.random(SHAPE).astype("f4"), name="ERR", ver=version),
            fits.ImageHDU(
                generator.integers(0, 9, SHAPE).astype("i2") if dq is None else dq, name="DQ", ver=version
            ),
        ]
    fits.HDUList(hdus).writeto(path)
    return path


# -------------------------------------------------------------- reading


def test_a_raw_exposure(raw):
    exposure = Exposure.open(raw)
    assert len(exposure.imsets) == 3
    for number, imset in enumerate(exposure.imsets, start=1):
        assert imset.sci.dtype == np.uint16
        np.testing.assert_array_equal(imset.sci[:], raw_frame(4000 + number, SHAPE))
        assert (imset.err.constant, imset.dq.constant) == (0, 0)
        assert (imset.err.shape, imset.err.dtype, imset.dq.dtype) == (SHAPE, np.float32, np.int16)
        assert (imset.exptime, imset.housing_temperature, imset.sdqflags, imset.good) == (
            1100.0,
            21.0,
            31743,
            True,
        )
        assert imset.grid.ltv == (19.0, 20.0)
    assert exposure.name == "odbr01h1q_raw.fits"
    assert exposure.start_mjd == BEGIN
    assert exposure.switch("BLEVCORR") == "PERFORM"
    assert exposure.switch("NOSUCH") == "OMIT"
    assert not exposure.done("BLEVCORR")
    assert exposure.meta.cal_step.blevcorr == "PERFORM"
    assert exposure.meta.filename == str(raw)
    (record,) = exposure.inputs
    assert (record.name, record.imsets, record.begin, record.proposal) == (raw.name, 3, BEGIN, 14819)


def test_pixels_are_forgotten_with_the_last_of_those_who_share_an_exposure(raw):
    exposure = Exposure.open(raw)

    def stored():
        return [imset.sci.source.array is not None for imset in exposure.imsets]

    with exposure.held():
        before = [imset.sci[:].copy() for imset in exposure.imsets]
        with exposure.held():
            pass
        assert all(stored())
    assert not any(stored())
    for imset, pixels in zip(exposure.imsets, before, strict=True):
        np.testing.assert_array_equal(imset.sci[:], pixels)


def test_memory_is_used_again_but_for_that_which_somebody_looks_at(raw):
    exposure = Exposure.open(raw)
    refstis.datamodels.exposure._spare.clear()
    with exposure.held():
        view, other = exposure.imsets[0].sci[5:7], exposure.imsets[2].sci.source
        kept, memory = view.copy(), other.array.ctypes.data
    assert memory in {array.ctypes.data for array in refstis.datamodels.exposure._spare}
    assert not any(np.shares_memory(view, array) for array in refstis.datamodels.exposure._spare)
    with exposure.held():
        exposure.imsets[1].sci[:]
        assert memory in {imset.sci.source.array.ctypes.data for imset in exposure.imsets}
    # a view that somebody still has keeps what it shows
    np.testing.assert_array_equal(view, kept)


def test_nothing_lives_longer_than_the_exposure(raw):
    # as while products are made: nobody looks for circles
    gc.disable()
    try:
        exposure = Exposure.open(raw)
        with exposure.held():
            exposure.imsets[0].sci[:]
        stage = exposure.changed({"BLEVCORR": "COMPLETE"})
        assert exposure.remember("stage", functools.partial(dataclasses.replace, stage)) is not stage
        left = [weakref.ref(one) for one in (exposure, stage, exposure.imsets[0].sci.source)]
        left.append(weakref.ref(exposure.imsets[0].sci.source.file))
        del exposure, stage
        assert [one() for one in left] == [None] * 4
    finally:
        gc.enable()


def test_rows_come_from_the_file_as_from_memory(raw):
    exposure, whole = Exposure.open(raw), Exposure.open(raw)
    with whole.held():
        for one, two in zip(exposure.imsets, whole.imsets, strict=True):
            for window in (
                (slice(0, 3), slice(0, 5)),
                (slice(7, 9), slice(2, 4)),
                (slice(1, 1), slice(0, 4)),
            ):
                np.testing.assert_array_equal(one.sci[window], two.sci[window])
                assert one.sci.source.array is None


def test_a_file_that_is_changed_between_two_looks_is_refused(raw):
    exposure = Exposure.open(raw)
    exposure.imsets[0].sci[0]
    with fits.open(raw, mode="update") as hdus:
        hdus["SCI", 2].data[0, 0] = 12345
    with pytest.raises(InputError, match=rf"{raw.name}: was changed while it was in use"):
        exposure.imsets[1].sci[0]


def test_pixels_are_read_when_they_are_asked_for(raw):
    exposure = Exposure.open(raw)
    with fits.open(raw, mode="update") as hdus:
        hdus["SCI", 2].data[0, 0] = 12345
    assert exposure.imsets[1].sci[0, 0:1][0] == 12345


def test_a_gzipped_file(raw, tmp_path):
    zipped = tmp_path / "odbr01h1q_raw.fits.gz"
    zipped.write_bytes(gzip.compress(raw.read_bytes()))
    assert_same_pixels(Exposure.open(zipped), Exposure.open(raw))
    # told from its content: the name may say otherwise
    misnamed = tmp_path / "misnamed_raw.fits"
    misnamed.write_bytes(zipped.read_bytes())
    assert_same_pixels(Exposure.open(misnamed), Exposure.open(raw))


def assert_same_pixels(one, two):
    assert len(one.imsets) == len(two.imsets)
    for a, b in zip(one.imsets, two.imsets, strict=True):
        for plane in ("sci", "err", "dq"):
            x, y = getattr(a, plane), getattr(b, plane)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x[:], y[:])


@pytest.mark.parametrize("kind", ["raw", "flt"])
def test_tile_compressed_files(raw, tmp_path, kind):
    plain = raw if kind == "raw" else write_flt(tmp_path / "x_flt.fits")
    packed = tmp_path / "packed.fits"
    with fits.open(plain) as hdus:
        made = [fits.PrimaryHDU(header=hdus[0].header)]
        for hdu in hdus[1:]:
            if hdu.data is None:
                made.append(hdu)
            else:
                lossless = {"quantize_level": 0, "compression_type": "GZIP_2"}
                made.append(fits.CompImageHDU(hdu.data, header=hdu.header, name=hdu.name, **lossless))
        fits.HDUList(made).writeto(packed)
    assert_same_pixels(Exposure.open(packed), Exposure.open(plain))


def test_exposures_corrected_for_cti(tmp_path):
    # stis_cti writes float32 counts with their uncertainties and flags
    cte = write_flt(tmp_path / "odbr01h1q_cte.fits")
    exposure = Exposure.open(cte)
    with fits.open(cte) as hdus:
        for n, imset in enumerate(exposure.imsets, start=1):
            for name, plane in (("SCI", imset.sci), ("ERR", imset.err), ("DQ", imset.dq)):
                assert plane.dtype == (np.int16 if name == "DQ" else np.float32)
                np.testing.assert_array_equal(plane[:], hdus[name, n].data)


@pytest.mark.parametrize(
    ("stored", "header"),
    [
        (np.array([[1, -2], [3, 4]], dtype=">i2"), {}),
        (np.array([[1, -2], [3, 4]], dtype=">i4"), {}),
        (np.array([[1.5, -2], [3, 4]], dtype=">f8"), {}),
        (np.array([[1, -2], [3, 4]], dtype=">i2"), {"BSCALE": 0.5, "BZERO": 10.0}),
        (np.array([[1, 2], [3, 4]], dtype=">u1"), {}),
    ],
)
def test_storage_of_science_pixels(tmp_path, stored, header):
    path = tmp_path / "x_flt.fits"
    planes = {"SCI": stored, "ERR": np.zeros((2, 2), "i2"), "DQ": np.zeros((2, 2), "i2")}
    images = [fits.ImageHDU(plane, name=name, ver=1) for name, plane in planes.items()]
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"NEXTEND": 3})), *images]).writeto(path)
    for key, value in header.items():
        fits.setval(path, key, value=value, ext=1)
    expected = stored.astype("f8") * header.get("BSCALE", 1.0) + header.get("BZERO", 0.0)
    imset = Exposure.open(path).imsets[0]
    assert imset.sci.dtype == np.float32
    np.testing.assert_array_equal(imset.sci[:], expected.astype(np.float32))
    assert imset.err[:].dtype == np.float32


@pytest.mark.parametrize("dtype", ["i4", "u2"])
def test_flags_are_sixteen_bits_with_sign(tmp_path, dtype):
    flags = np.full(SHAPE, 32767, dtype=dtype)
    assert Exposure.open(write_flt(tmp_path / "good_flt.fits", flags)).imsets[0].dq[:].dtype == np.int16
    flags[2, 2] = 32768
    with pytest.raises(InputError, match=r"bad_flt\.fits: data quality flags .*32768.*Repair"):
        Exposure.open(write_flt(tmp_path / "bad_flt.fits", flags)).imsets[0].dq[:]


def test_constant_images(tmp_path):
    path = tmp_path / "x_flt.fits"
    write_raw(path, shape=SHAPE, imsets=1)
    with fits.open(path, mode="update") as hdus:
        hdus["ERR", 1].header["PIXVALUE"] = 2.5
        hdus["DQ", 1].header["PIXVALUE"] = 16
    found = arrays(Exposure.open(path))
    assert found.err.tolist() == np.full(SHAPE, 2.5).tolist()
    assert found.dq.tolist() == np.full(SHAPE, 16).tolist()


# -------------------------------------------------------------- writing


def test_what_is_written_is_what_there_was(tmp_path):
    exposure = Exposure.open(write_flt(tmp_path / "x_flt.fits"))
    exposure.save(tmp_path / "y_flt.fits")
    assert_same_pixels(Exposure.open(tmp_path / "y_flt.fits"), exposure)
    with fits.open(tmp_path / "y_flt.fits") as hdus:
        assert hdus[0].header["FILENAME"] == "y_flt.fits"
        assert hdus[0].header["NEXTEND"] == 6
        assert [(h.name, h.ver) for h in hdus[1:]] == [(n, v) for v in (1, 2) for n in ("SCI", "ERR", "DQ")]


@given(
    st.lists(st.integers(-3000, 3000), min_size=6, max_size=6),
    st.sampled_from([0.0, 2.5, None]),
    st.sampled_from([0, 16, -1, None]),
    st.sampled_from([np.uint16, np.float32]),
)
@settings(deadline=None, derandomize=True, max_examples=40)
def test_round_trip(tmp_path_factory, values, err, dq, dtype):
    generator = np.random.default_rng(0)
    sci = np.abs(values).reshape(2, 3).astype(dtype)
    err = generator.random((2, 3)).astype(np.float32) if err is None else err
    dq = generator.integers(0, 9, (2, 3)).astype(np.int16) if dq is None else dq
    made = in_memory([sci], err, dq)
    path = tmp_path_factory.mktemp("trip") / "x_flt.fits"
    made.save(path)
    assert_same_pixels(Exposure.open(path), made)


def test_constant_uncertainties_and_flags_take_no_room(tmp_path):
    sci = np.full(SHAPE, 7.0, dtype=np.float32)
    in_memory([sci], np.full(SHAPE, 2.5, dtype=np.float32), np.full(SHAPE, 16, dtype=np.int16)).save(
        tmp_path / "x_flt.fits"
    )
    with fits.open(tmp_path / "x_flt.fits") as hdus:
        assert hdus["SCI", 1].data.shape == SHAPE  # never of science pixels
        for name, value, kind in (("ERR", 2.5, float), ("DQ", 16, int)):
            header = hdus[name, 1].header
            assert hdus[name, 1].data is None
            assert (header["NPIX1"], header["NPIX2"], header["PIXVALUE"]) == (8, 6, value)
            assert isinstance(header["PIXVALUE"], kind)


def test_pixels_of_an_image_that_was_constant(tmp_path):
    raw = Exposure.open(write_raw(tmp_path / "x_raw.fits", shape=SHAPE, imsets=1))
    flags = np.zeros(SHAPE, dtype=np.int16)
    flags[1, 1] = 4
    raw.changed(imsets=[raw.imsets[0].with_pixels(dq=Pixels.of(flags))]).save(tmp_path / "y_flt.fits")
    header = fits.getheader(tmp_path / "y_flt.fits", "DQ", 1)
    assert not {"NPIX1", "NPIX2", "PIXVALUE"} & set(header)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "y_flt.fits", ("DQ", 1)), flags)


def test_reference_images_always_have_arrays(tmp_path):
    exposure = in_memory([np.ones(SHAPE, "f4")], 0.0, 0, {"FILETYPE": "CCD BIAS IMAGE"})
    exposure.save(tmp_path / "x_bia.fits")
    with fits.open(tmp_path / "x_bia.fits") as hdus:
        assert hdus["ERR", 1].data.dtype == np.dtype(">f4")
        assert hdus["DQ", 1].data.dtype == np.dtype(">i2")


def test_keywords_of_storage_are_made_anew(tmp_path):
    path = write_raw(
        tmp_path / "x_raw.fits", imsets=1, shape=SHAPE, sci={"DATAMIN": 1.0, "DATAMAX": 2.0, "GOODMEAN": 3.0}
    )
    exposure = Exposure.open(path)
    imset = exposure.imsets[0]
    floats = imset.with_pixels(sci=Pixels.of(imset.sci[:].astype(np.float32)))
    exposure.changed(imsets=[floats]).save(tmp_path / "x_flt.fits")
    header = fits.getheader(tmp_path / "x_flt.fits", "SCI", 1)
    assert not {"DATAMIN", "DATAMAX", "BZERO", "BSCALE"} & set(header)
    assert (header["BITPIX"], header["GOODMEAN"], header["BUNIT"]) == (-32, 3.0, "COUNTS")


def test_equal_exposures_give_equal_bytes(raw, tmp_path):
    for folder in ("one", "two"):
        Exposure.open(raw).save(tmp_path / folder / "y.fits")
    assert (tmp_path / "one" / "y.fits").read_bytes() == (tmp_path / "two" / "y.fits").read_bytes()


def test_history_is_added_at_the_end(raw, tmp_path):
    changed = (
        Exposure.open(raw)
        .changed({"BLEVCORR": "COMPLETE"}, history=["one", "two"])
        .changed(history=["three"])
    )
    changed.save(tmp_path / "y.fits")
    assert [str(line) for line in fits.getheader(tmp_path / "y.fits")["HISTORY"]] == ["one", "two", "three"]


def test_an_exposure_is_never_changed(raw):
    exposure = Exposure.open(raw)
    before = checksums(raw.parent)
    changed = exposure.changed({"BLEVCORR": "COMPLETE"}, [exposure.imsets[0].with_keywords({"EXPTIME": 5.0})])
    assert changed.done("BLEVCORR")
    assert changed.imsets[0].exptime == 5.0
    assert not exposure.done("BLEVCORR")
    assert len(exposure.imsets) == 3
    assert exposure.imsets[0].exptime == 1100.0
    assert checksums(raw.parent) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        exposure.primary = None


# -------------------------------------------------------------- what is not written


def test_the_input_is_not_overwritten(raw, tmp_path):
    exposure = Exposure.open(raw)
    os.link(raw, tmp_path / "other_name.fits")
    before = checksums(tmp_path)
    for name in (raw.name, "other_name.fits"):
        with pytest.raises(OutputError, match="is an input"):
            exposure.changed({"BLEVCORR": "COMPLETE"}).save(tmp_path / name)
    assert checksums(tmp_path) == before


def failing(error):
    def produce(rows, columns):
        raise error

    return Pixels(SHAPE, np.float32, produce)


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), InputError("x: cut short")])
def test_a_failure_leaves_nothing_behind(raw, tmp_path, error):
    exposure = Exposure.open(raw)
    imsets = [*exposure.imsets[:2], exposure.imsets[2].with_pixels(sci=failing(error))]
    before = checksums(tmp_path)
    with pytest.raises(type(error)):
        exposure.changed(imsets=imsets).save(tmp_path / "product.fits")
    assert checksums(tmp_path) == before


def test_what_goes_before_the_rename_can_stop_it(raw, tmp_path):
    def stop():
        assert not (tmp_path / "product.fits").exists()
        raise OutputError("no record")

    before = checksums(tmp_path)
    with pytest.raises(OutputError, match="no record"):
        Exposure.open(raw).save(tmp_path / "product.fits", before_rename=stop)
    assert checksums(tmp_path) == before


def test_what_was_written_is_read_back(raw, tmp_path, monkeypatch):
    read_back = refstis.datamodels.exposure._read_back

    def from_a_disk_that_lost_a_bit(name, written, target):
        with Path(name).open("r+b") as disk:
            disk.seek(-2881, os.SEEK_END)
            byte = disk.read(1)[0]
            disk.seek(-2881, os.SEEK_END)
            disk.write(bytes([byte ^ 1]))
        read_back(name, written, target)

    monkeypatch.setattr(refstis.datamodels.exposure, "_read_back", from_a_disk_that_lost_a_bit)
    before = checksums(tmp_path)
    with pytest.raises(OutputError, match="differs from what was written"):
        Exposure.open(raw).save(tmp_path / "product.fits")
    assert checksums(tmp_path) == before


# -------------------------------------------------------------- what cannot be read


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none_raw\.fits: no such file"):
        Exposure.open(tmp_path / "none_raw.fits")


def test_a_file_that_was_cut_short(raw, tmp_path):
    content = raw.read_bytes()
    cut = tmp_path / "cut_raw.fits"
    # within the primary header, between headers, within pixels, and a few bytes before the end of the pixels
    for length in (100, 2880, 5000, len(content) // 2, len(content) - 2 * 2880 - 100):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut_raw\.fits.*(again|leave it out|missing)"):
            Exposure.open(cut).imsets[0].sci[:]


def test_every_length_of_a_cut_file_is_found_out(raw, tmp_path):
    # whatever is missing, opening it says so: never an exposure with fewer image sets, never a Python error
    content = raw.read_bytes()
    cut = tmp_path / "cut_raw.fits"
    for length in range(0, len(content) - 2880, 1440):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut_raw\.fits"):
            Exposure.open(cut)


def test_a_gzipped_file_that_was_cut_short(raw, tmp_path):
    content = gzip.compress(raw.read_bytes())
    cut = tmp_path / "cut_raw.fits.gz"
    for part in (0.02, 0.3, 0.9):
        cut.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(InputError, match=r"cut_raw\.fits\.gz"):
            Exposure.open(cut)


def test_a_file_that_is_cut_while_it_is_in_use(raw):
    exposure = Exposure.open(raw)
    with raw.open("r+b") as stream:
        stream.truncate(9000)
    with pytest.raises(InputError, match=r"odbr01h1q_raw\.fits: .*cut"):
        exposure.imsets[2].sci[:]
    raw.unlink()
    with pytest.raises(InputError, match=r"odbr01h1q_raw\.fits: cannot be read any more"):
        exposure.imsets[1].sci[:]


@pytest.mark.parametrize(
    "content", [b"", b"no FITS at all\n", b"SIMPLE  =", b"\x1f\x8b\x08nonsense", bytes(5760), b"\x00" * 100]
)
def test_what_is_no_fits_file(tmp_path, content):
    (tmp_path / "x_raw.fits").write_bytes(content)
    with pytest.raises(InputError, match=r"x_raw\.fits"):
        Exposure.open(tmp_path / "x_raw.fits")


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match="not a readable FITS file"):
        Exposure.open(tmp_path)


def edit(path, change):
    with fits.open(path, mode="update") as hdus:
        change(hdus)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h[0].header.set("NEXTEND", 2), "NEXTEND is 2"),
        (lambda h: h[0].header.set("NEXTEND", 0), "NEXTEND is 0"),
        (lambda h: h[0].header.set("NEXTEND", 12), "extension SCI,4 is missing"),
        (lambda h: h.__delitem__(6), "extension DQ,2 is missing"),
        (lambda h: h[1].header.set("EXTVER", 7), "extension SCI,1 is missing"),
        (lambda h: h[3].header.set("NPIX1", 9), "different sizes"),
        (lambda h: setattr(h[4], "data", np.zeros((2, 3, 4), dtype="i2")), "3 axes"),
        (lambda h: setattr(h[4], "data", np.zeros(4, dtype="i2")), "1 axes"),
        (lambda h: setattr(h[0], "data", np.zeros((2, 2), dtype="i2")), "primary HDU"),
    ],
)
def test_what_is_no_exposure(raw, change, words):
    with pytest.raises(InputError, match=rf"odbr01h1q_raw\.fits: .*{words}"):
        Exposure.open(edit(raw, change))


def test_a_reference_image_is_an_exposure(tmp_path):
    sci = np.random.default_rng(1).random(SHAPE).astype("f4")
    found = arrays(Exposure.open(write_reference(tmp_path / "x_bia.fits", sci)))
    np.testing.assert_array_equal(found.sci, sci)


def test_values_for_best_references(raw):
    found = Exposure.open(raw).get_crds_parameters()
    assert (found["CCDAMP"], found["INSTRUME"]) == ("D", "STIS")
    assert not {"HISTORY", "COMMENT", ""} & set(found)
