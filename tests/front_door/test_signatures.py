"""Every documented name: its signature to the letter, and one call with real files."""

import hashlib
import inspect
import os
import pkgutil
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import refstis
from refstis import (
    basedark,
    basejoint,
    delivery,
    functions,
    pipeline,
    pop_db,
    refbias,
    retrieval,
    weekbias,
    weekdark,
)
from refstis.retrieval import RetrievalError


def dq_of(name):
    return fits.getdata(name, ("DQ", 1))


def sci_of(name):
    return fits.getdata(name, ("SCI", 1))


# ---------------------------------------------------------------- one call of each


def use_make_basedark(files):
    assert basedark.make_basedark(files.flts) is None
    header = fits.getheader("basedark.fits")
    assert (header["TASKNAME"], header["FILETYPE"], header["DRK_VS_T"]) == ("BASEDARK", "DARK IMAGE", 0.07)


def use_create_superdark(files):
    basedark.make_basedark(files.flts, "base.fits")
    functions.normalize_crj(files.crj)
    before = sci_of(files.crj)
    weekdark.create_superdark(files.crj, "base.fits")
    changed = sci_of(files.crj)
    assert (changed != before).any()
    quiet = dq_of(files.crj) != 16
    base = sci_of("base.fits")
    assert np.mean(changed[quiet] == base[quiet]) > 0.9


def use_make_weekdark(files):
    basedark.make_basedark(files.flts, "base.fits")
    weekdark.make_weekdark(files.flts[:3], "week.fits", "base.fits")
    assert fits.getval("week.fits", "TASKNAME") == "WEEKDARK"


def use_find_hotpix(files):
    functions.normalize_crj(files.crj)
    sci, before = sci_of(files.crj), dq_of(files.crj)
    basedark.find_hotpix(files.crj)
    hot = dq_of(files.crj) != before
    assert hot.any()
    assert (dq_of(files.crj)[hot] == 16).all()
    assert sci[hot].min() > 0.1
    np.testing.assert_array_equal(sci_of(files.crj), sci)


def use_update_sci(files):
    functions.normalize_crj(files.crj)
    sci = sci_of(files.crj)
    basedark.update_sci(files.crj)
    assert (dq_of(files.crj)[sci > sci.mean() + 5 * sci.std()] == 16).all()
    np.testing.assert_array_equal(sci_of(files.crj), sci)


def use_make_weekbias(files):
    basejoint.make_basebias(files.biases, "base.fits")
    weekbias.make_weekbias(files.biases[:1], "week.fits", "base.fits")
    assert fits.getval("week.fits", "TASKNAME") == "WEEKBIAS"


def use_flag_hot_pixels(files):
    joined = str(files.folder / "biases_joined.fits")
    functions.msjoin(files.biases, joined)
    mean = functions.crreject(joined)
    refbias.flag_hot_pixels(mean)
    refbias.make_refbias(files.biases, "whole.fits")
    np.testing.assert_array_equal(dq_of(mean), dq_of("whole.fits"))
    np.testing.assert_array_equal(sci_of(mean), sci_of("whole.fits"))


def use_make_refbias(files):
    refbias.make_refbias(files.biases)
    assert fits.getval("refbias.fits", "TASKNAME") == "refbias"


def use_average_biases(files):
    combined = [basejoint.calibrate(files.copy(bias)) for bias in files.biases]
    mean, weight = basejoint.average_biases(combined)
    assert Path(mean) == files.folder / "mean.fits"
    assert weight == functions.count_imsets(files.biases)
    total = sci_of(combined[0]) + sci_of(combined[1])
    np.testing.assert_array_equal(sci_of(mean), total / np.float32(weight))


def use_calibrate(files):
    raw = files.copy(files.biases[0])
    assert basejoint.calibrate(raw) == raw.replace(".fits", "_crj.fits")
    header = fits.getheader(raw.replace(".fits", "_crj.fits"))
    assert (header["CRCORR"], header["BLEVCORR"], header["APERTURE"]) == ("COMPLETE", "COMPLETE", "50CCD")


def use_make_basebias(files):
    basejoint.make_basebias(files.biases)
    assert fits.getval("basebias.fits", "TASKNAME") == "BASEJOIN"
    assert fits.getval("basebias.fits", "NCOMBINE", 1) == functions.count_imsets(files.biases)


def mean_bias(files):
    return basejoint.average_biases([basejoint.calibrate(files.copy(bias)) for bias in files.biases])[0]


def use_replace_hot_cols(files):
    mean = mean_bias(files)
    residual, median = functions.make_residual(mean)
    before = sci_of(mean)
    basejoint.replace_hot_cols(mean, median, residual, yfrac=0.2)
    columns = (sci_of(mean) != before).any(axis=0)
    assert 0 < columns.sum() < before.shape[1] / 10
    np.testing.assert_array_equal(sci_of(mean)[:, columns], median[:, columns])


def use_replace_hot_pix(files):
    mean = mean_bias(files)
    residual, median = functions.make_residual(mean)
    before = sci_of(mean)
    basejoint.replace_hot_pix(mean, median)
    replaced = sci_of(mean) != before
    assert replaced.any()
    assert residual[replaced].min() > residual[~replaced].mean() + 5 * residual[~replaced].std() * 0.9
    np.testing.assert_array_equal(sci_of(mean)[replaced], median[replaced])


def use_clean_directory(files):
    (files.folder / "below").mkdir()
    kept = [files.copy(files.darks[0]), files.copy(files.darks[1], "below/x_raw.fits")]
    (files.folder / "below" / "notes.txt").write_text("gone")
    pipeline.clean_directory(str(files.folder))
    assert sorted(str(path) for path in files.folder.rglob("*") if path.is_file()) == sorted(kept)


def use_collect_new(files):
    archive = files.folder / "archive"
    archive.mkdir()
    shutil.copy(files.darks[0], archive)
    name = Path(files.darks[0]).name
    settings = {"retrieve_directory": str(files.folder / "requested"), "retrieve_from": str(archive)}
    assert pipeline.collect_new([name[:9]], settings) is True
    assert (files.folder / "requested" / name).read_bytes() == Path(files.darks[0]).read_bytes()


def use_grab_between(files):
    times = [fits.getval(dark, "TEXPSTRT") for dark in files.darks]
    assert list(pipeline.grab_between(files.darks, times[1], times[4])) == files.darks[2:4]


def use_make_reffiles(files):
    # two folders of raws are in test_pipeline.py; a month of frames that the policy does not know has no product
    raw = files.copy(files.darks[0])
    for name in files.folder.iterdir():
        if str(name) != raw:
            name.unlink()
    pipeline.make_pipeline_reffiles(str(files.folder))
    assert [str(path) for path in files.folder.iterdir()] == [raw]


def use_pull_info(files):
    assert pipeline.pull_info("/data/12345_07/darks/wk03") == ("12345", "wk03", "07")
    assert pipeline.pull_info("12345_07/biases/4-1x1/biwk12/") == ("12345", "biwk12", "07")
    assert pipeline.pull_info("somewhere") == ("", "", "")


def use_pull_out_subfolders(files):
    for name in ("biases/1-1x1/wk01", "biases/4-1x1/biwk01", "darks/wk02"):
        (files.folder / name).mkdir(parents=True)
    gains, weeks = pipeline.pull_out_subfolders(str(files.folder))
    assert [str(Path(gain).relative_to(files.folder)) for gain in gains] == ["biases/1-1x1", "biases/4-1x1"]
    assert [Path(week).name for week in weeks] == ["wk01", "biwk01", "wk02"]
    assert pipeline.pull_out_subfolders(str(files.folder / "none")) == ([], [])


def use_run(files):
    (files.folder / "config.yaml").write_text("products_directory: products\nretrieve_directroy: raws\n")
    with pytest.raises(refstis.errors.ConfigurationError, match="did you mean retrieve_directory"):
        pipeline.run()


def use_separate_period(files):
    # files that the policy does not know stay where they are; those that it knows are moved in test_pipeline.py
    raw = files.copy(files.darks[0])
    pipeline.separate_period(str(files.folder))
    assert Path(raw).exists()


def use_split_files(files):
    early, late = pipeline.split_files(files.darks[::-1])
    assert early == files.darks[0::2]
    assert late == files.darks[1::2]


def use_remove_if_there(files):
    functions.RemoveIfThere(files.crj)
    functions.RemoveIfThere(files.crj)
    assert not Path(files.crj).exists()


def use_apply_dark_correction(files):
    dark = files.flts[0]
    temperature = fits.getval(dark, "OCCDHTAV", 1)
    before = sci_of(dark)
    functions.apply_dark_correction(dark, fits.getval(dark, "TEXPSTRT"))
    once = sci_of(dark)
    np.testing.assert_allclose(once, before / (1 + 0.07 * (temperature - 18.0)), rtol=1e-6)
    functions.apply_dark_correction(dark, fits.getval(dark, "TEXPSTRT"))
    np.testing.assert_array_equal(sci_of(dark), once)


def use_bd_calstis(files):
    assert functions.bd_calstis(files.joined) is None
    header = fits.getheader(files.crj)
    wanted = {
        "CRCORR": "COMPLETE",
        "APERTURE": "50CCD",
        "APER_FOV": "50x50",
        "DARKCORR": "OMIT",
        "FLATCORR": "OMIT",
    }
    assert {key: header[key] for key in wanted} == wanted
    assert "cosmic rays" in (files.folder / "darks_joined_bd_calstis_log.txt").read_text()


def use_bd_crreject(files):
    assert functions.bd_crreject(files.joined) == 0
    assert functions.bd_crreject(files.crj) == 1
    np.testing.assert_array_equal(sci_of("darks_joined_crj_crj.fits"), sci_of(files.crj))
    with pytest.raises(refstis.errors.InputError, match="a single image set"):
        functions.bd_crreject(files.flts[0])


def use_bias_subtract_data(files):
    flat = functions.bias_subtract_data(files.darks[0], files.superbias, outdir="below")
    assert flat == str(Path("below", Path(files.darks[0]).name.replace("_raw", "_flt")))
    assert fits.getval(flat, "BIASCORR") == "COMPLETE"
    assert Path("below", Path(files.darks[0]).stem + "_bias_subtract_log.txt").exists()
    assert functions.bias_subtract_data(flat, files.superbias) == flat


def use_count_imsets(files):
    assert functions.count_imsets(files.biases) == 10
    assert functions.count_imsets(files.joined) == 6


def use_divide_anneal_month(files):
    database(files)
    weeks = functions.divide_anneal_month(57001.0, 57002.0, str(files.folder), 4)
    assert weeks == [
        (57000.5, 57008.5),
        (57008.5, 57015.5),
        (57015.5, 57022.5),
        (57022.5, pytest.approx(57029.75)),
    ]


def use_figure_days_in_period(files):
    assert functions.figure_days_in_period(4, 28) == [7, 7, 7, 7]
    assert functions.figure_days_in_period(4, 29) == [8, 7, 7, 7]
    assert functions.figure_days_in_period(3, 21) == [7, 7, 7]


def use_figure_number_of_periods(files):
    days = (5, 6, 9, 10, 11, 12, 27, 28)
    assert [functions.figure_number_of_periods(d, "wk") for d in days] == [-1, 1, 1, -1, -1, 2, 3, 4]


def database(files):
    pop_db.write_database(
        files.folder / "anneal_info.db", [(14000, 1, 57000.0, 57000.5), (14000, 4, 57029.75, 57030.0)]
    )


def use_get_anneal_month_dates(files):
    database(files)
    begin, end = functions.get_anneal_month_dates(57001.0, 57020.0, str(files.folder))
    assert (begin.mjd, end.mjd) == (57000.5, 57029.75)
    with pytest.raises(refstis.errors.InputError, match="cross the anneal"):
        functions.get_anneal_month_dates(57001.0, 57031.0, str(files.folder))


def use_get_keyword(files):
    assert functions.get_keyword(files.darks, "CCDGAIN") == 1
    assert functions.get_keyword(files.darks, "EXPTIME", ext=1) == 1100.0
    with pytest.raises(AssertionError, match="ROOTNAME is not the same"):
        functions.get_keyword(files.darks, "ROOTNAME")


def use_make_path_safe(files):
    short = "/short/path/reference_file.fits"
    assert functions.make_path_safe(short) == short
    assert functions.make_path_safe("/really" * 8 + "/reference_file.fits") == "refdir$reference_file.fits"
    assert os.environ["refdir"] == "/really" * 8 + "/"  # noqa: SIM112 - the name that CALSTIS knows


def use_make_residual(files):
    residual, median = functions.make_residual(files.superbias)
    np.testing.assert_allclose(residual + median, sci_of(files.superbias), atol=1e-5)
    assert functions.make_residual(files.superbias, (5, 5))[1].std() < sci_of(files.superbias).std()


def use_make_resicols_image(files):
    residual, _ = functions.make_residual(files.superbias)
    image = functions.make_resicols_image(residual, yfrac=0.25)
    assert image.shape == residual.shape
    rows = int(residual.shape[0] * 0.25 + 0.5)
    np.testing.assert_allclose(image[-1], residual[:rows].mean(axis=0, dtype=float), atol=1e-4)


def use_msjoin(files):
    functions.msjoin(files.flts)
    with fits.open("joined_out.fits") as joined:
        assert joined[0].header["NEXTEND"] == len(joined) - 1 == 18
        for version, flt in enumerate(files.flts, start=1):
            np.testing.assert_array_equal(joined["SCI", version].data, sci_of(flt))


def use_normalize_crj(files):
    header = fits.getheader(files.crj)
    before = sci_of(files.crj)
    functions.normalize_crj(files.crj)
    expected = before / np.float32(header["TEXPTIME"] / header["ATODGAIN"])
    np.testing.assert_array_equal(sci_of(files.crj), expected)
    assert fits.getval(files.crj, "TEXPTIME") == 1


def use_refaver(files):
    halves = [str(files.folder / f"half{number}.fits") for number in (1, 2)]
    for half, bias in zip(halves, files.biases, strict=True):
        refbias.make_refbias([bias], half)
    functions.refaver(halves, "both")
    average = (sci_of(halves[0]) + sci_of(halves[1])) / 2
    np.testing.assert_allclose(sci_of(files.folder / "both.fits"), average, rtol=1e-6)


def configure(text):
    (Path.home() / "refstis_config.yaml").write_text(text)


def use_send_email(files):
    configure("smtp: 127.0.0.1:9\n")
    with pytest.raises(refstis.errors.OutputError, match=r"127\.0\.0\.1:9 did not take it"):
        functions.send_email("subject", "text", "me@example.org", "you@example.org")


def use_update_header_from_input(files):
    mean = functions.crreject(files.copy(files.biases[0]))
    pixels = sci_of(mean)
    functions.update_header_from_input(mean, [files.biases[0]])
    header = fits.getheader(mean)
    assert (header["FILETYPE"], header["USEAFTER"][:3], header["CCDGAIN"]) == ("CCD BIAS IMAGE", "Jun", 1)
    assert len(header["DESCRIP"]) == 67
    np.testing.assert_array_equal(sci_of(mean), pixels)
    with pytest.raises(refstis.errors.InputError, match="TARGNAME is 'DARK'"):
        functions.update_header_from_input(mean, [files.biases[0], files.darks[0]])


def use_crreject(files):
    joined = str(files.folder / "biases_joined.fits")
    functions.msjoin(files.biases, joined)
    assert functions.crreject(joined) == joined.replace(".fits", "_crj_div.fits")
    assert (files.folder / "biases_joined_crreject_log.txt").exists()


def use_get_start_and_endtimes(files):
    begin, end, first, last = functions.get_start_and_endtimes(files.darks[::-1])
    assert first == fits.getval(files.darks[0], "TEXPSTRT")
    assert last == fits.getval(files.darks[-1], "TEXPEND")
    assert (begin[2:], end[2:]) == ("/06/2017", "/06/2017")


def monitor(files):
    for folder, names in {"2017_06": ("oaaaa1010", "oaaaa3010"), "2017_07a": ("obbbb1010",)}.items():
        (files.folder / "anneals" / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            header = fits.Header({"PROPOSID": 14826, "OBSET_ID": name[5:7], "TEXPSTRT": 57900.0 + number / 2})
            fits.PrimaryHDU(header=header).writeto(files.folder / "anneals" / folder / f"{name}_crj.fits")
    configure(f"anneal_directory: {files.folder}/anneals\nanneal_database: {files.folder}/anneal_info.db\n")


def use_get_directories(files):
    monitor(files)
    assert pop_db.get_directories() == [f"{files.folder}/anneals/2017_06/"]


def use_grab_anneal_mjds(files):
    monitor(files)
    ((proposal, _, begin, end),) = pop_db.grab_anneal_mjds()
    assert (proposal, begin, end) == (14826, 57900.0, 57900.5)


def rows_of(database):
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT id, proposid, visit, start, end FROM anneals").fetchall()


def use_main(files):
    monitor(files)
    pop_db.main()
    pop_db.main()
    assert [row[3:] for row in rows_of(files.folder / "anneal_info.db")] == [(57900.0, 57900.5)]


def use_pop_database(files):
    monitor(files)
    pop_db.pop_database([(14826, 2, 57900.0, 57900.5)])
    assert rows_of(files.folder / "anneal_info.db") == [(1, 14826, 2.0, 57900.0, 57900.5)]


DADS = {"archive_user": "me", "email": "me@example.org", "host": "example.org", "ftp_user": "me",
        "retrieve_directory": "/raws", "dads_host": "dads.example.org", "archive": "127.0.0.1:9"}  # fmt: skip


def use_build_xml_request(files):
    assert "od9e01010" in retrieval.build_xml_request(["od9e01010"], DADS)


def use_submit_xml_request(files):
    with pytest.raises(RetrievalError, match=r"127\.0\.0\.1"):
        retrieval.submit_xml_request(retrieval.build_xml_request(["od9e01010"], DADS), DADS)


def use_everything_retrieved(files):
    configure("archive: 127.0.0.1:9\n")
    with pytest.raises(RetrievalError, match=r"127\.0\.0\.1"):
        retrieval.everything_retrieved("me12345")


def delivery_folder(files):
    folder = files.folder / "month"
    folder.mkdir()
    shutil.copy(files.superbias, folder / "weekbias_14826_26_wk01_bia.fits")
    basedark.make_basedark(files.flts, folder / "basedark.fits")
    weekdark.make_weekdark(
        files.flts[:3], folder / "weekdark_14826_26_wk01_drk.fits", folder / "basedark.fits"
    )
    return folder


def use_plot_obset(files):
    folder = delivery_folder(files)
    delivery.plot_obset(str(folder))
    for name in ("biases.pdf", "darks.pdf"):
        assert (folder / name).read_bytes().startswith(b"%PDF")


def use_regress(files):
    result = delivery.regress(str(delivery_folder(files)))
    assert {one.dark for one in result.reductions} == {"weekdark_14826_26_wk01_drk.fits"}


def use_set_descrip(files):
    folder = delivery_folder(files)
    name = folder / "weekdark_14826_26_wk01_drk.fits"
    descrip = fits.getval(name, "DESCRIP")
    fits.setval(name, "DESCRIP", value="useless")
    delivery.set_descrip(str(folder))
    assert fits.getval(name, "DESCRIP") == descrip


# ---------------------------------------------------------------- the table

ROWS = [
    ("weekdark.create_superdark", "crj_filename, basedark", use_create_superdark),
    ("weekdark.make_weekdark", "input_list, refdark_name, thebasedark, thebiasfile=None", use_make_weekdark),
    ("basedark.find_hotpix", "filename", use_find_hotpix),
    ("basedark.make_basedark", "input_list, refdark_name='basedark.fits', bias_file=None", use_make_basedark),
    ("basedark.update_sci", "filename", use_update_sci),
    ("weekbias.make_weekbias", "input_list, refbias_name, basebias", use_make_weekbias),
    ("refbias.flag_hot_pixels", "refbias_name", use_flag_hot_pixels),
    ("refbias.make_refbias", "input_list, refbias_name='refbias.fits'", use_make_refbias),
    ("basejoint.average_biases", "bias_list", use_average_biases),
    ("basejoint.calibrate", "input_file", use_calibrate),
    ("basejoint.make_basebias", "input_list, refbias_name='basebias.fits'", use_make_basebias),
    ("basejoint.replace_hot_cols", "mean_bias, median_image, residual_image, yfrac=1", use_replace_hot_cols),
    ("basejoint.replace_hot_pix", "mean_bias, median_image", use_replace_hot_pix),
    ("pipeline.clean_directory", "root_path", use_clean_directory),
    ("pipeline.collect_new", "observations_to_get, settings", use_collect_new),
    ("pipeline.grab_between", "file_list, mjd_start, mjd_end", use_grab_between),
    ("pipeline.make_pipeline_reffiles", "root_folder, last_basedark=None, last_basebias=None", use_make_reffiles),
    ("pipeline.pull_info", "foldername", use_pull_info),
    ("pipeline.pull_out_subfolders", "root_folder", use_pull_out_subfolders),
    ("pipeline.run", "config_file='config.yaml'", use_run),
    ("pipeline.separate_period", "base_dir", use_separate_period),
    ("pipeline.split_files", "all_files", use_split_files),
    ("functions.RemoveIfThere", "item", use_remove_if_there),
    ("functions.apply_dark_correction", "filename, expstart", use_apply_dark_correction),
    ("functions.bd_calstis", "joinedfile, thebiasfile=None", use_bd_calstis),
    ("functions.bd_crreject", "joinedfile", use_bd_crreject),
    ("functions.bias_subtract_data", "filename, biasfile, outdir=''", use_bias_subtract_data),
    ("functions.count_imsets", "file_list", use_count_imsets),
    ("functions.divide_anneal_month", "data_begin, data_end, database_path, N_period", use_divide_anneal_month),
    ("functions.figure_days_in_period", "N_periods, N_days, add_remainder=False", use_figure_days_in_period),
    ("functions.figure_number_of_periods", "number_of_days, mode", use_figure_number_of_periods),
    ("functions.get_anneal_month_dates", "data_begin, data_end, database_path", use_get_anneal_month_dates),
    ("functions.get_keyword", "file_list, keyword, ext=0", use_get_keyword),
    ("functions.make_path_safe", "filename", use_make_path_safe),
    ("functions.make_residual", "mean_bias, kern=(3, 15)", use_make_residual),
    ("functions.msjoin", "imset_list, out_name='joined_out.fits'", use_msjoin),
    ("functions.normalize_crj", "filename", use_normalize_crj),
    ("functions.refaver", "reffiles, combined_name", use_refaver),
    ("functions.send_email", "subject=None, message=None, from_addr=None, to_addr=None", use_send_email),
    ("functions.update_header_from_input", "filename, input_list", use_update_header_from_input),
    ("functions.crreject", "input_file, workdir=None", use_crreject),
    ("functions.make_resicols_image", "residual_image, yfrac=1", use_make_resicols_image),
    ("functions.get_start_and_endtimes", "input_list", use_get_start_and_endtimes),
    ("delivery.plot_obset", "folder", use_plot_obset),
    ("delivery.regress", "folder", use_regress),
    ("delivery.set_descrip", "folder", use_set_descrip),
    ("pop_db.get_directories", "", use_get_directories),
    ("pop_db.grab_anneal_mjds", "", use_grab_anneal_mjds),
    ("pop_db.main", "", use_main),
    ("pop_db.pop_database", "anneal_info", use_pop_database),
    ("retrieval.build_xml_request", "datasets, settings", use_build_xml_request),
    ("retrieval.everything_retrieved", "tracking_id", use_everything_retrieved),
    ("retrieval.submit_xml_request", "xml_request, settings", use_submit_xml_request),
]  # fmt: skip


def plain(signature):
    """A signature without annotations, and without what can only follow the documented arguments by name or default."""
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return [str(one) for one in bare]


@pytest.mark.parametrize(("name", "signature"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_signature(name, signature):
    found = plain(inspect.signature(pkgutil.resolve_name(f"refstis.{name}")))
    documented = re.findall(r"\w+(?:=(?:\([^)]*\)|[^,]+))?", signature)
    assert found[: len(documented)] == documented
    # the rooms of delivery can be told more; whoever calls them as documented need not know
    further = found[len(documented) :]
    assert not further or name.startswith("delivery.")
    assert all("=" in one for one in further)


@pytest.mark.parametrize(("name", "use"), [(row[0], row[2]) for row in ROWS], ids=[row[0] for row in ROWS])
def test_call(name, use, files):
    """And what is not documented to be updated stays as it is, to the last byte."""
    given = [Path(path) for path in (*files.biases, *files.darks, *files.flts, files.superbias, files.joined)]
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in given}
    use(files)
    changed = {
        path.name
        for path in given
        if path.exists() and hashlib.sha256(path.read_bytes()).digest() != before[path]
    }
    assert changed == ({Path(files.flts[0]).name} if name == "functions.apply_dark_correction" else set())
    assert not list(files.folder.rglob("*.part"))
