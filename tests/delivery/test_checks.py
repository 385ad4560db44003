"""Files spoiled on purpose are found out for the right reason, and sound ones are left alone."""

# ruff: noqa: N802 - the ways of spoiling bear the names of keywords in theirs
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from refstis.anneal.ledger import Ledger
from refstis.delivery.checks import check_files, worst
from refstis.delivery.limits import load_limits
from refstis.delivery.products import find_products, open_products
from refstis.errors import ConfigurationError, InputError
from refstis.pipelines import RefBiasPipeline

BIAS, GAIN4, DARK = "_wk01_bia.fits", "_biwk01_bia.fits", "_wk02_drk.fits"


def remarks(judgement):
    return {verdict.check: verdict for verdict in judgement.remarks}


# ---------------------------------------------------------------------------- how files are spoiled

SPOILED = {}


def spoil(ending, check, outcome, *words):
    """Register a way of spoiling: what product it is done to, and what is to be found."""

    def register(function):
        name = function.__name__.replace("_", " ").strip()
        SPOILED[name] = (function, ending, check, outcome, words)
        return function

    return register


@spoil(BIAS, "level_change", "CAUTION", "earlier", "expected -0.6 to 0.6 DN")
def bias_level_1_5_DN_higher(hdus):
    hdus[1].data += 1.5


@spoil(GAIN4, "level_change", "CAUTION")
def gain_4_bias_level_0_6_DN_lower(hdus):
    hdus[1].data -= 0.6


@spoil(BIAS, "level", "FAIL", "median of SCI")
def bias_without_overscan_subtraction(hdus):
    hdus[1].data += 1019.0


@spoil(BIAS, "tilt_change", "CAUTION")
def bias_tilted_by_2_DN(hdus):
    hdus[1].data += np.linspace(-1.0, 1.0, hdus[1].data.shape[0], dtype=np.float32)[:, None]


@spoil(BIAS, "stuck", "FAIL", "one and the same value")
def a_stuck_column_of_the_bias(hdus):
    hdus[1].data[:, 97] = 3.0


@spoil(DARK, "stuck", "FAIL", "one and the same value")
def a_block_of_lost_rows_in_the_dark(hdus):
    hdus[1].data[40:60] = 0.0


@spoil(DARK, "new_columns", "CAUTION", "columns that changed")
def six_bad_columns_in_the_dark(hdus):
    hdus[1].data[:, 30:180:25] += 0.02


@spoil(BIAS, "largest_column", "CAUTION")
def a_column_80_DN_higher_in_the_bias(hdus):
    hdus[1].data[:, 200] += 80.0


@spoil(BIAS, "noise_over_error", "FAIL", "over median ERR")
def doubled_ERR_of_the_bias(hdus):
    hdus[2].data *= 2.0


@spoil(DARK, "error_over_photons", "FAIL", "photon noise")
def doubled_ERR_of_the_dark(hdus):
    hdus[2].data *= 2.0


@spoil(DARK, "error_over_photons", "FAIL", "photon noise")
def halved_ERR_of_the_dark(hdus):
    hdus[2].data /= 2.0


@spoil(DARK, "without_error", "FAIL")
def ERR_of_zero_everywhere(hdus):
    hdus[2].data[:] = 0.0


@spoil(BIAS, "noise_over_error", "CAUTION")
def bias_noise_half_as_large_again(hdus):
    noise = np.random.default_rng(7).standard_normal(hdus[1].data.shape)
    hdus[1].data += (1.1 * np.median(hdus[2].data) * noise).astype(np.float32)


@spoil(DARK, "not_finite", "FAIL")
def a_NaN_in_the_dark(hdus):
    hdus[1].data[17, 40] = np.nan


@spoil(BIAS, "not_finite", "FAIL")
def an_infinite_ERR_in_the_bias(hdus):
    hdus[2].data[100, 3] = np.inf


@spoil(BIAS, "mode", "FAIL", "CCDGAIN is 4, HISTORY tells of inputs with 1")
def wrong_gain_in_the_header_of_the_bias(hdus):
    hdus[0].header["CCDGAIN"] = 4


@spoil(DARK, "mode", "FAIL", "CCDGAIN is 1, expected -1")
def gain_of_the_inputs_in_the_header_of_the_dark(hdus):
    hdus[0].header["CCDGAIN"] = 1


@spoil(BIAS, "mode", "FAIL", "CCDAMP is A")
def wrong_amplifier(hdus):
    hdus[0].header["CCDAMP"] = "A"


@spoil(BIAS, "structure", "FAIL", "for this binning")
def wrong_binning(hdus):
    hdus[0].header["BINAXIS1"] = 1


@spoil(DARK, "mode", "FAIL", "FILETYPE", "named")
def a_dark_that_says_it_is_a_bias(hdus):
    hdus[0].header["FILETYPE"] = "CCD BIAS IMAGE"


@spoil(DARK, "mode", "FAIL", "DRK_VS_T is 0.08")
def another_temperature_law(hdus):
    hdus[0].header["DRK_VS_T"] = 0.08


@spoil(DARK, "keywords", "FAIL", "PEDIGREE missing")
def missing_PEDIGREE(hdus):
    del hdus[0].header["PEDIGREE"]


@spoil(BIAS, "keywords", "FAIL", "CCDOFFST missing")
def missing_CCDOFFST(hdus):
    del hdus[0].header["CCDOFFST"]


def _move_useafter(header, days):
    from datetime import datetime, timedelta

    moment = datetime.strptime(header["USEAFTER"], "%b %d %Y %H:%M:%S") + timedelta(days=days)  # noqa: DTZ007
    header["USEAFTER"] = moment.strftime("%b %d %Y %H:%M:%S")
    return moment


@spoil(DARK, "descrip", "CAUTION", "USEAFTER")
def USEAFTER_a_day_early(hdus):
    _move_useafter(hdus[0].header, -1)


@spoil(DARK, "useafter", "FAIL", "not used for its own first data")
def USEAFTER_a_day_late_and_DESCRIP_with_it(hdus):
    header = hdus[0].header
    moment = _move_useafter(header, 1)
    header["DESCRIP"] = f"Weekdark (amp=D) for data taken after {moment:%Y-%m-%d}".ljust(67, "-")


@spoil(BIAS, "useafter", "FAIL", "expected such as")
def USEAFTER_that_is_no_date(hdus):
    hdus[0].header["USEAFTER"] = "2017-07-05"


@spoil(BIAS, "pedigree", "FAIL", "before it begins")
def PEDIGREE_backwards(hdus):
    kind, first, last = hdus[0].header["PEDIGREE"].split()
    first = first[:6] + str(int(first[6:]) + 1)
    hdus[0].header["PEDIGREE"] = f"{kind} {first} {last}"


@spoil(BIAS, "pedigree", "FAIL", "expected INFLIGHT")
def PEDIGREE_of_a_dummy(hdus):
    hdus[0].header["PEDIGREE"] = "DUMMY 01/01/2000"


@spoil(DARK, "descrip", "CAUTION", "characters")
def DESCRIP_without_padding(hdus):
    hdus[0].header["DESCRIP"] = hdus[0].header["DESCRIP"].rstrip("-")


@spoil(DARK, "provisional", "CAUTION", "month is not over")
def a_provisional_file(hdus):
    words = hdus[0].header["DESCRIP"].rstrip("-") + " provisional"
    hdus[0].header["DESCRIP"] = words.ljust(67, "-")


@spoil(BIAS, "negative_errors", "FAIL")
def swapped_SCI_and_ERR_of_the_bias(hdus):
    hdus[1].data, hdus[2].data = hdus[2].data.copy(), hdus[1].data.copy()


@spoil(DARK, "errors_above_values", "FAIL", "swapped")
def swapped_SCI_and_ERR_of_the_dark(hdus):
    hdus[1].data, hdus[2].data = hdus[2].data.copy(), hdus[1].data.copy()


@spoil(DARK, "hot_growth", "FAIL", "0.1 e-/s over those of the earlier")
def half_the_hot_pixels_missing(hdus):
    y, x = np.nonzero(hdus[1].data > 0.1)
    hdus[1].data[y[::2], x[::2]] = np.median(hdus[1].data)


@spoil(DARK, "hot_unflagged", "FAIL", "without DQ 16")
def DQ_all_zero(hdus):
    hdus[3].data[:] = 0


@spoil(BIAS, "other_flags", "FAIL")
def DQ_512_everywhere(hdus):
    hdus[3].data |= 512


@spoil(DARK, "hot_lost", "FAIL")
def a_dark_upside_down(hdus):
    for hdu in hdus[1:]:
        hdu.data = hdu.data[::-1].copy()


@spoil(DARK, "hot_lost", "FAIL")
def a_dark_shifted_by_one_pixel(hdus):
    for hdu in hdus[1:]:
        hdu.data = np.roll(hdu.data, 1, axis=1)


@spoil(DARK, "level", "FAIL", "expected 0.007 to 0.04 e-/s")
def a_dark_in_electrons(hdus):
    hdus[1].data *= 1100.0
    hdus[2].data *= 1100.0


@spoil(DARK, "level_ratio", "CAUTION")
def a_dark_without_superbias_subtraction(hdus):
    # the superbias' spurious charge of several electrons remains in exposures of 1100 s
    hdus[1].data += 4.0 / 1100.0


@spoil(BIAS, "columns_rms", "CAUTION")
def columns_off_by_noise(hdus):
    offsets = np.random.default_rng(3).normal(0.0, 1.2, hdus[1].data.shape[1])
    hdus[1].data += offsets.astype(np.float32)[None, :]


@spoil(DARK, "history", "FAIL", "no list")
def HISTORY_without_inputs(hdus):
    header = hdus[0].header
    lines = [line for line in header["HISTORY"] if not line.startswith("The following")]
    del header["HISTORY"]
    for line in lines:
        header.add_history(line)


@spoil(DARK, "history", "FAIL", "more than once")
def an_input_counted_twice(hdus):
    header = hdus[0].header
    lines = list(header["HISTORY"])
    begin = lines.index("The following input files were used:")
    del header["HISTORY"]
    for line in [*lines[: begin + 2], *lines[begin + 1 :]]:
        header.add_history(line)


@spoil(DARK, "frames", "FAIL")
def a_single_frame(hdus):
    header = hdus[0].header
    lines = [line.replace("combination of 10 input", "combination of 1 input") for line in header["HISTORY"]]
    del header["HISTORY"]
    for line in lines:
        header.add_history(line)


@spoil(BIAS, "structure", "FAIL", "float64")
def an_image_of_the_wrong_type(hdus):
    hdus[1] = fits.ImageHDU(hdus[1].data.astype(np.float64), hdus[1].header)


@spoil(BIAS, "readable", "FAIL", "ERR")
def no_ERR_extension(hdus):
    del hdus[2]


@spoil(BIAS, "filename", "CAUTION", "named")
def FILENAME_of_another_file(hdus):
    hdus[0].header["FILENAME"] = "weekbias_14825_05_wk01_bia.fits"


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_file_is_found_out(name, months, tmp_path):
    function, ending, check, outcome, words = SPOILED[name]
    original = months.product(ending)
    target = tmp_path / original.name
    with fits.open(original, memmap=False) as hdus:
        for hdu in hdus[1:]:
            hdu.data = hdu.data.copy()
        function(hdus)
        hdus.writeto(target)
    (judged,) = check_files([target], previous=[months.before])
    assert check in remarks(judged), [verdict.check for verdict in judged.remarks]
    verdict = remarks(judged)[check]
    assert verdict.outcome == outcome, verdict
    for word in words:
        assert word in verdict.reason


def test_every_way_of_spoiling_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
    assert [name for name in SPOILED if name not in page] == []
    assert len(SPOILED) >= 25


def test_truncated_file(months, tmp_path):
    target = tmp_path / months.product(DARK).name
    target.write_bytes(months.product(DARK).read_bytes()[:200_000])
    (judged,) = check_files([target], previous=months.before)
    assert remarks(judged)["readable"].outcome == "FAIL"


def test_last_months_file_under_a_new_name(months, tmp_path):
    target = tmp_path / "weekdark_14825_08_wk02_drk.fits"
    shutil.copy(next(months.before.rglob("*_wk02_drk.fits")), target)
    (judged,) = check_files([target], previous=months.before)
    found = remarks(judged)
    assert found["identical"].outcome == "FAIL"
    assert "filename" in found


def test_two_files_for_the_same_dates(months, tmp_path):
    first = months.product(DARK)
    target = tmp_path / "weekdark_14825_08_wk03_drk.fits"
    shutil.copy(first, target)
    _, second = check_files([first, target])
    assert remarks(second)["unique"].outcome == "FAIL"


@pytest.fixture
def week(months, tmp_path, monkeypatch):
    """The second week's bias-subtracted darks, to be spoiled before they are combined."""
    monkeypatch.setenv("oref", f"{months.raws / 'oref'}/")
    originals = sorted((months.now / "darks" / "wk02").glob("*_flt.fits"))
    darks = [shutil.copy(path, tmp_path / path.name) for path in originals]
    basedark = next(months.now.glob("basedark_*.fits"))
    return darks, tmp_path / months.product(DARK).name, basedark


def test_a_weeks_darks_at_the_wrong_temperature(week, months, make_weekdark):
    darks, target, basedark = week
    for path in darks:
        fits.setval(path, "OCCDHTAV", value=fits.getval(path, "OCCDHTAV", 1) + 4.0, ext=1)
    (judged,) = check_files([make_weekdark(darks, target, basedark)], previous=months.before)
    assert remarks(judged)["hot_scale"].outcome == "FAIL"


def test_cosmic_rays_not_rejected(week, months, make_weekdark):
    darks, target, basedark = week
    make_weekdark(darks, target, basedark, crcorr={"crsigmas": [1000.0]})
    (judged,) = check_files([target], previous=months.before)
    assert remarks(judged)["changed"].outcome == "CAUTION"


def test_too_few_darks(week, months, make_weekdark):
    darks, target, basedark = week
    (judged,) = check_files([make_weekdark(darks[:3], target, basedark)], previous=months.before)
    assert remarks(judged)["frames"].outcome == "CAUTION"


def test_built_in_table_in_place_of_the_named_one(months, tmp_path):
    """Without $oref the CRREJTAB of the headers is not at hand: the built-in one is used, and this is said."""
    biases = [path for path in sorted(months.raws.glob("*_raw.fits")) if fits.getval(path, "CCDGAIN") == 1]
    biases = [str(path) for path in biases if fits.getval(path, "TARGNAME") == "BIAS"][:3]
    for number, path in enumerate(biases):
        biases[number] = shutil.copy(path, tmp_path / Path(path).name)
        fits.setval(biases[number], "CRREJTAB", value="oref$other_crr.fits")
    oref = f"{months.raws / 'oref'}/"
    tables = {"ccdtab": f"{oref}16j1600do_ccd.fits", "bpixtab": f"{oref}h1v11475o_bpx.fits"}
    steps = {
        "dqicorr": {f"override_{key}": value for key, value in tables.items()},
        "blevcorr": {"override_ccdtab": tables["ccdtab"]},
    }
    target = tmp_path / "weekbias_14825_08_wk01_bia.fits"
    RefBiasPipeline.call(biases, output_file=str(target), steps=steps)
    (judged,) = check_files([target])
    assert "built-in" in remarks(judged)["references"].reason


# ---------------------------------------------------------------------------- sound files


def test_clean_months_get_no_remark(months):
    judged = check_files(find_products(months.before, baselines=True))
    judged += check_files(find_products(months.now, baselines=True), previous=months.before)
    assert len(judged) == 14
    assert [(one.name, verdict) for one in judged for verdict in one.remarks] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(201, 211))
def test_clean_months_of_other_seeds_get_no_remark(seed, tmp_path, make_months):
    epoch = (1999, 2009, 2017, 2023)[seed % 4]
    made = make_months(tmp_path, seed, epoch)
    judged = check_files(find_products(made.before, baselines=True))
    judged += check_files(find_products(made.now, baselines=True), previous=made.before)
    assert len(judged) == 14
    assert [(one.name, verdict) for one in judged for verdict in one.remarks] == []


def test_a_failed_file_is_nobodys_measure(months, tmp_path):
    first, second = sorted(months.now.rglob("*_drk.fits"))
    bad = tmp_path / first.name
    with fits.open(first, memmap=False) as hdus:
        hdus[1].data = hdus[1].data * 3.0
        hdus.writeto(bad)
    spoiled, sound = check_files([bad, second], previous=months.before)
    assert spoiled.outcome == "FAIL"
    assert sound.outcome == "PASS"
    assert sound.earlier == "weekdark_14825_05_wk02_drk.fits"


def test_comparison_with_the_file_in_use(months, tmp_path):
    dark = months.product(DARK)
    in_use = tmp_path / "7bu21313o_drk.fits"
    with fits.open(dark, memmap=False) as hdus:
        hdus[1].data = hdus[1].data * 1.5
        hdus[0].header["FILENAME"] = in_use.name
        hdus.writeto(in_use)
    (judged,) = check_files([dark], previous=months.before, current=[in_use])
    assert judged.current == in_use.name
    assert "crds_level_ratio" in remarks(judged)
    assert not any(name in remarks(judged) for name in ("level_ratio", "hot_growth"))


def test_verdicts_go_to_the_ledger(months, tmp_path):
    with Ledger(tmp_path / "ledger.db") as ledger:
        judged = check_files([months.product(DARK)], previous=months.before, ledger=ledger)
        kept = ledger.verdicts(str(months.product(DARK)))
    assert len(kept) == len(judged[0].verdicts)
    assert {verdict.checksum for verdict in kept} == {judged[0].checksum}


def test_json_holds_no_infinity(months):
    judged = check_files([months.product(BIAS)], previous=months.before)
    text = json.dumps([one.to_dict() for one in judged], allow_nan=False)
    assert json.loads(text)[0]["outcome"] == "PASS"


# ---------------------------------------------------------------------------- limits


def test_limits_of_ones_own_come_last(months, tmp_path):
    own = tmp_path / "limits.yaml"
    own.write_text("rules:\n  - for: {filetype: dark}\n    limits: {frames: {caution: [11, null]}}\n")
    (judged,) = check_files([months.product(DARK)], limits=own)
    verdict = remarks(judged)["frames"]
    assert (verdict.outcome, verdict.figure, verdict.limit) == ("CAUTION", 10.0, 11.0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("rules:\n  - limits: {colour: {fail: [0, 1]}}\n", "colour"),
        ("rules:\n  - limits: {level: {fail: [0]}}\n", "rules"),
        ("useafter: never\n", "useafter"),
        ("- 1\n", "rules"),
        ("a: [\n", "YAML"),
    ],
)
def test_wrong_limits_are_named(text, word, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(ConfigurationError, match=f"own.yaml.*{word}"):
        load_limits(own)


def test_limits_follow_the_epoch():
    from datetime import datetime

    limits = load_limits()
    early = limits.bounds("dark", 1, (1, 1), datetime(1999, 10, 1))
    late = limits.bounds("dark", 1, (1, 1), datetime(2017, 10, 1))
    assert early["level"].caution[1] < late["level"].caution[0] < 0.01


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_files(find_products(tmp_path / "none"))


def test_products_of_a_month_by_name(months):
    names = [path.name for path in find_products(months.now)]
    assert names == sorted(names)
    assert all(name.endswith(("_bia.fits", "_drk.fits")) for name in names)
    assert len(open_products(find_products(months.now, baselines=True))) == len(names) + 2


def test_the_worst_of_nothing_is_pass():
    assert worst([]) == "PASS"
