"""Stage crcorr: its parameters, what the product's header tells, the flags of the inputs, and the engines."""

import json
import os
import shutil
import sys

import entrypoints
import numpy as np
import pytest
from frames import BEGIN, arrays, checksums, in_memory, rejection_row, write_raw, write_table
from stpipe.exceptions import ValidationError

from refstis.calibration.crcorr import RejectionParameters, StackImage, reject_cosmic_rays
from refstis.errors import ConfigurationError, InputError, ReferenceFileError, RefstisError
from refstis.stages import BlevCorrStep, CrCorrStep

SHAPE = (7, 9)


def frames(count, seed=1, level=100.0):
    generator = np.random.default_rng(seed)
    images = [generator.normal(level, 5.0, SHAPE).astype(np.float32) for _ in range(count)]
    for n, image in enumerate(images):
        image[n % SHAPE[0], 2 * n % SHAPE[1]] += 5000.0
    return images


def exposure(count=3, seed=1, dq=0, primary=(), **header):
    return in_memory(frames(count, seed), 0.0, dq, primary, header)


@pytest.fixture
def crrejtab(tmp_path):
    rows = [
        rejection_row(
            CRSPLIT=3, MEANEXP=2000.0, CRSIGMAS="6,5", INITGUES="median", SKYSUB="mode", SCALENSE="1.0"
        ),
        rejection_row(CRSPLIT=2, MEANEXP=2000.0, CRSIGMAS="4.0", CRMASK=False),
    ]
    return str(write_table(tmp_path / "test_crr.fits", rows))


def stack(exposures):
    return [
        StackImage(i.sci[:], i.dq[:], i.exptime, e.primary["ATODGAIN"], e.primary["READNSE"])
        for e in exposures
        for i in e.imsets
    ]


def assert_combined(found, exposures, parameters):
    expected = reject_cosmic_rays(stack(exposures), parameters)
    for a, b in zip(arrays(found), (expected.sci, expected.err, expected.dq), strict=True):
        np.testing.assert_array_equal(a, b)
    return expected


# -------------------------------------------------------------- parameters


TABLE = RejectionParameters((6.0, 5.0), "median", "mode", 1.5, 0.8, 1.0)


def test_parameters_of_the_table(crrejtab):
    made = exposure()
    found = CrCorrStep(override_crrejtab=crrejtab).process(made)
    assert_combined(found, [made], TABLE)
    assert found.primary["CRSIGMAS"] == "6,5"


def test_spectra_are_combined_without_sky(crrejtab):
    made = exposure(primary={"OBSTYPE": "SPECTROSCOPIC"})
    found = CrCorrStep(override_crrejtab=crrejtab).process(made)
    assert_combined(found, [made], RejectionParameters(TABLE.sigmas, "median", "none", 1.5, 0.8, 1.0))
    found = CrCorrStep(override_crrejtab=crrejtab, skysub="mode").process(made)
    assert_combined(found, [made], TABLE)


@pytest.mark.parametrize(
    ("given", "changes", "keyword", "value"),
    [
        ({"crsigmas": [3.0]}, {"sigmas": (3.0,)}, "CRSIGMAS", "3"),
        ({"crsigmas": [6, 5, 4.5]}, {"sigmas": (6.0, 5.0, 4.5)}, "CRSIGMAS", "6,5,4.5"),
        ({"initgues": "minimum"}, {"initial_guess": "minimum"}, "INITGUES", "minimum"),
        ({"skysub": "none"}, {"sky": "none"}, "SKYSUB", "none"),
        ({"crradius": 0.0}, {"radius": 0.0}, "CRRADIUS", 0.0),
        ({"crthresh": -1.0}, {"threshold": -1.0}, "CRTHRESH", -1.0),
        ({"scalense": 20.0}, {"scale_noise": 20.0}, "SCALENSE", 20.0),
        ({"badinpdq": 16}, {"bad_bits": 16}, "BADINPDQ", 16),
    ],
)
def test_given_parameters_replace_those_of_the_table(crrejtab, given, changes, keyword, value):
    generator = np.random.default_rng(9)
    flags = [np.where(generator.random(SHAPE) < 0.2, 16, 0).astype(np.int16) for _ in range(3)]
    made = exposure(dq=flags)
    found = CrCorrStep(override_crrejtab=crrejtab, **given).process(made)
    assert_combined(found, [made], RejectionParameters(**{**vars(TABLE), **changes}))
    assert found.primary[keyword] == value


ALL = {
    "crsigmas": [4.0], "initgues": "minimum", "skysub": "none", "crradius": 1.5, "crthresh": 0.8, "scalense": 0.0,
    "badinpdq": 0, "crmask": False,
}  # fmt: skip


def test_no_table_is_needed_where_everything_is_given():
    made = exposure(primary={"CRREJTAB": "oref$none_crr.fits", "TEXPSTRT": 40000.0})
    step = CrCorrStep(**ALL)
    found = step.process(made)
    assert_combined(found, [made], RejectionParameters((4.0,), "minimum", "none", 1.5, 0.8))
    assert step.references_used == []


def test_no_row_of_the_table_holds(crrejtab):
    made = exposure(EXPTIME=2001.0)
    with pytest.raises(ReferenceFileError, match=r"test_crr\.fits: no row for 3 images"):
        CrCorrStep(override_crrejtab=crrejtab).process(made)


def test_no_limits(crrejtab):
    with pytest.raises(ConfigurationError, match=r"crcorr: .*CRSIGMAS"):
        CrCorrStep(override_crrejtab=crrejtab, crsigmas=[]).process(exposure())


@pytest.mark.parametrize(
    "given", [{"initgues": "mean"}, {"skysub": "median"}, {"crradius": -1.0}, {"threads": -1}]
)
def test_parameters_without_meaning(given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        CrCorrStep(**given)


@pytest.mark.parametrize("bits", [65535, 32768, -32769])
def test_flags_that_are_no_sixteen_bits(bits):
    with pytest.raises(ValidationError, match="badinpdq"):
        CrCorrStep(badinpdq=bits)


# -------------------------------------------------------------- header


def test_header_of_darks(crrejtab):
    one = exposure(2, 1, primary={"FILENAME": "a_flt.fits"})
    headers = [{"EXPTIME": 1000.0, "OCCDHTAV": 20.0, "EXPSTART": BEGIN - 3.0, "EXPEND": BEGIN - 2.9}]
    two = in_memory(frames(1, 2), primary={"FILENAME": "b_flt.fits", "PROPOSID": 99}, headers=headers)
    found = CrCorrStep(override_crrejtab=crrejtab).process([one, two])
    expected = assert_combined(found, [one, two], TABLE)
    header, sci = found.primary, found.imsets[0].sci_header
    total = 1100.0 + 1100.0 + 1000.0
    assert (header["TEXPTIME"], sci["EXPTIME"], sci["NCOMBINE"]) == (total, total, 3)
    assert header["MEANEXP"] == pytest.approx(total / 3, rel=1e-7)
    assert header["SKYSUM"] == pytest.approx(float(expected.sky.sum()), rel=1e-7)
    assert header["REJ_RATE"] == pytest.approx(expected.rejected_count / total, rel=1e-7)
    assert (header["TEXPSTRT"], sci["EXPSTART"]) == (BEGIN - 3.0, BEGIN - 3.0)
    assert (header["TEXPEND"], sci["EXPEND"]) == (BEGIN + 1.01, BEGIN + 1.01)
    assert sci["OCCDHTAV"] == pytest.approx((21.0 * 2200 + 20.0 * 1000) / total, rel=1e-7)
    assert [header[k] for k in ("CRCORR", "INITGUES", "SKYSUB", "CRMASK")] == [
        "COMPLETE",
        "median",
        "mode",
        True,
    ]
    assert [header[k] for k in ("CRRADIUS", "CRTHRESH", "SCALENSE", "BADINPDQ")] == [1.5, 0.80000001, 1.0, 0]
    # all inputs are remembered; the rest of the header is the first one's
    assert [(r.name, r.imsets, r.proposal) for r in found.inputs] == [
        ("a_flt.fits", 2, 14819),
        ("b_flt.fits", 1, 99),
    ]
    assert header["PROPOSID"] == 14819
    assert len(found.imsets) == 1
    assert "3 frames were combined" in found.procedure[-1]


def test_header_of_biases(crrejtab):
    made = exposure(3, EXPTIME=0.0, OCCDHTAV=-1.0)
    found = CrCorrStep(override_crrejtab=crrejtab).process(made)
    assert found.primary["TEXPTIME"] == 0
    assert found.imsets[0].sci_header["EXPTIME"] == 0
    assert "REJ_RATE" not in found.primary
    assert found.imsets[0].sci_header["OCCDHTAV"] == -1.0
    assert np.median(arrays(found).sci) == pytest.approx(300.0, abs=10.0)  # the sum of three


def test_bad_image_sets_are_left_out(crrejtab):
    images = frames(4)
    headers = [{"IMSET_OK": n != 2} for n in range(4)]
    made = in_memory(images, headers=headers)
    found = CrCorrStep(override_crrejtab=crrejtab).process(made)
    good = made.changed(imsets=[made.imsets[n] for n in (0, 1, 3)])
    assert_combined(found, [good], TABLE)
    assert found.imsets[0].sci_header["NCOMBINE"] == 3


# -------------------------------------------------------------- flags of the inputs


def test_updated_flags_of_the_inputs(crrejtab):
    flags = np.zeros(SHAPE, dtype=np.int16)
    flags[:, 3] = 8192 | 4  # rejected before
    made = exposure(3, dq=[flags, 0, flags])
    found = CrCorrStep(override_crrejtab=crrejtab).process(made)
    expected = reject_cosmic_rays(stack([made]), TABLE)
    assert len(found.input_dq) == 3
    for n, dq in enumerate(found.input_dq):
        before = made.imsets[n].dq[:]
        np.testing.assert_array_equal(dq[:], np.where(expected.rejected(n), 8192, 0) | (before & ~8192))
        np.testing.assert_array_equal(dq[2:4, 1:5], dq[:][2:4, 1:5])
    assert (flags[:, 3] == (8192 | 4)).all()


def test_flags_are_given_where_crmask_says_so(crrejtab):
    assert CrCorrStep(override_crrejtab=crrejtab, crmask=False).process(exposure()).input_dq == ()
    two = exposure(2)  # the table says no for two images
    assert CrCorrStep(override_crrejtab=crrejtab).process(two).input_dq == ()
    assert len(CrCorrStep(override_crrejtab=crrejtab, crmask=True).process(two).input_dq) == 2


def test_input_files_stay_as_they_are(tmp_path, crrejtab):
    path = write_raw(tmp_path / "x_raw.fits", "DARK", imsets=3, shape=SHAPE)
    BlevCorrStep().process(str(path)).save(tmp_path / "x_flt.fits")
    before = checksums(tmp_path)
    found = CrCorrStep(override_crrejtab=crrejtab, crmask=True).process(str(tmp_path / "x_flt.fits"))
    assert len(found.input_dq) == 3
    assert checksums(tmp_path) == before


# -------------------------------------------------------------- what is combined already, or cannot be


def test_a_combination_is_passed_through(crrejtab):
    made = exposure(1, primary={"CRCORR": "COMPLETE"})
    assert CrCorrStep(override_crrejtab=crrejtab).process(made) is made


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (
            [exposure(1, primary={"CRCORR": "COMPLETE"})],
            r"memory_flt\.fits: CRCORR is COMPLETE; .*Give the single exposures",
        ),
        ([exposure(2, primary={"READNSE": 0.0})], r"READNSE is 0\.0; .*Run blevcorr first"),
        ([exposure(2, primary={"ATODGAIN": None})], "ATODGAIN is None|ATODGAIN is missing"),
        ([exposure(2, primary={"CCDAMP": "A"})], "CCDAMP is A; .*Combine exposures of one amplifier"),
        ([in_memory([np.zeros((5, 4), "f4")])], "4 x 5 pixels; .* has 9 x 7"),
        ([exposure(2, EXPTIME=0.0)], "EXPTIME is 0 and that of other exposures is not"),
    ],
)
def test_exposures_that_do_not_go_together(crrejtab, others, words):
    with pytest.raises(InputError, match=words):
        CrCorrStep(override_crrejtab=crrejtab).process([exposure(), *others])


@pytest.mark.parametrize("made", [exposure(1), exposure(2, IMSET_OK=False)])
def test_fewer_than_two_images(crrejtab, made):
    with pytest.raises(InputError, match=r"memory_flt\.fits: [01] usable image set; .*at least 2"):
        CrCorrStep(override_crrejtab=crrejtab).process(made)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("guess", ["median", "minimum"])
@pytest.mark.parametrize("sky", ["mode", "none"])
def test_pixels_that_are_not_finite(crrejtab, value, guess, sky):
    made = exposure(3)
    made.imsets[1].sci[:][4, 6] = value
    step = CrCorrStep(override_crrejtab=crrejtab, initgues=guess, skysub=sky)
    with np.errstate(invalid="ignore"):
        if np.isinf(value) and sky == "none" and not (value < 0 and guess == "minimum"):
            # a hit like any other
            found = arrays(step.process(made))
            assert np.isfinite(found.sci).all()
            return
        with pytest.raises(
            InputError, match=r"memory_flt\.fits: pixel \(7, 5\) and 0 more are not finite .*leave it out"
        ):
            step.process(made)


# -------------------------------------------------------------- engines


def test_engines_are_found_by_their_names():
    assert {"native", "calstis"} <= set(entrypoints.get_group_named("refstis.crcorr_engines"))
    assert entrypoints.get_single("refstis.crcorr_engines", "native").load() is reject_cosmic_rays


def test_an_unknown_engine(crrejtab):
    with pytest.raises(ConfigurationError, match="no engine 'other'; installed are calstis, model, native"):
        CrCorrStep(override_crrejtab=crrejtab, engine="other").process(exposure())


def test_the_c_program_is_not_there(crrejtab, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"engine 'calstis' needs the C program cs2\.e .*use engine 'native'"
    ):
        CrCorrStep(override_crrejtab=crrejtab, engine="calstis").process(exposure())


# In place of the C program: takes its words as cs2.e does, and combines with the native engine.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from astropy.io import fits
from refstis.calibration.crcorr import RejectionParameters, StackImage, reject_cosmic_rays

names, output, *words = sys.argv[1:]
options = dict(zip(words[::2], words[1::2], strict=True))
Path(__file__).with_suffix(".json").write_text(json.dumps([names.split(), options]))
if Path(__file__).with_suffix(".fails").exists():
    print("one line\\nERROR: cannot do it")
    sys.exit(2)
stack = []
for name in names.split():
    with fits.open(name) as hdus:
        primary, exptime = hdus[0].header, hdus["SCI", 1].header["EXPTIME"]
        sci, dq = hdus["SCI", 1].data.astype("f4"), hdus["DQ", 1].data.astype("i2")
        stack.append(StackImage(sci, dq, exptime, primary["ATODGAIN"], primary["READNSE"]))
parameters = RejectionParameters(
    tuple(float(s) for s in options.pop("-sigmas").split(",")),
    {"min": "minimum", "med": "median"}[options.pop("-init")], options.pop("-sky"), float(options.pop("-radius")),
    float(options.pop("-thresh")), float(options.pop("-scale")), int(options.pop("-pdq")),
)
assert options == {"-crmask": "yes"}, options
made = reject_cosmic_rays(stack, parameters)
primary = fits.PrimaryHDU(header=fits.Header({"SKYSUM": float(made.sky.sum())}))
images = [fits.ImageHDU(image, name=name) for name, image in (("SCI", made.sci), ("ERR", made.err), ("DQ", made.dq))]
fits.HDUList([primary, *images]).writeto(output)
for n, name in enumerate(names.split()):
    with fits.open(name, mode="update") as hdus:
        hdus["DQ", 1].data[made.rejected(n)] |= 8192
"""


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Folder of a program in place of the C program; stistools itself calls it."""
    pytest.importorskip("stistools.ocrreject", exc_type=ImportError)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cs2.e").write_text(f"#!{sys.executable}\n{PROGRAM}")
    (folder / "cs2.e").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def assert_engines_agree(crrejtab, **parameters):
    generator = np.random.default_rng(9)
    flags = [np.where(generator.random(SHAPE) < 0.2, 16, 0).astype(np.int16) for _ in range(3)]
    made = exposure(dq=flags)
    native, other = (
        CrCorrStep(override_crrejtab=crrejtab, engine=engine, badinpdq=16, **parameters).process(made)
        for engine in ("native", "calstis")
    )
    for a, b in zip(arrays(native), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(native.input_dq, other.input_dq, strict=True):
        np.testing.assert_array_equal(a[:], b[:])
    for key in ("SKYSUM", "REJ_RATE", "TEXPTIME", "MEANEXP"):
        assert native.primary[key] == pytest.approx(other.primary[key], rel=1e-6)
    assert any((flags[:] & 8192).any() for flags in native.input_dq)


@pytest.mark.filterwarnings("ignore")
def test_the_c_program_is_given_every_parameter(crrejtab, program):
    assert_engines_agree(crrejtab)
    names, options = json.loads((program / "cs2.json").read_text())
    assert len(names) == 3
    assert (options["-sigmas"], options["-radius"], options["-scale"]) == ("6.0,5.0", "1.5", "1")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("cs2.e") is None, reason="cs2.e of HSTCAL is not on the PATH")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"crradius": 0.0},
        {"crthresh": 0.0},
        {"initgues": "minimum", "skysub": "none"},
        {"scalense": 3.0, "crsigmas": [5.0, 4.0, 3.0]},
    ],
)
def test_the_c_program_combines_the_same(crrejtab, parameters):
    assert_engines_agree(crrejtab, **parameters)


@pytest.mark.filterwarnings("ignore")
def test_the_c_program_fails(crrejtab, program):
    (program / "cs2.fails").touch()
    with pytest.raises(RefstisError, match=r"cs2\.e failed \(status 2\): .*ERROR: cannot do it"):
        CrCorrStep(override_crrejtab=crrejtab, engine="calstis").process(exposure())
