"""Small exposures, reference images and tables that tests write; every pixel and keyword is the test's own."""

import hashlib
import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from refstis.calibration.blevcorr import fit_line
from refstis.calibration.reference_image import ReferenceImage
from refstis.datamodels.exposure import Exposure, Imset
from refstis.datamodels.keywords import Keywords
from refstis.datamodels.pixels import Pixels

# Raw frames of the CCD by binning (x, y): columns and rows, overscan included (STIS Data Handbook).
RAW_SIZE = {
    (1, 1): (1062, 1044), (2, 2): (532, 522), (4, 4): (271, 266), (1, 2): (1054, 522), (2, 1): (532, 1034),
    (1, 4): (1054, 266), (4, 1): (271, 1034), (4, 2): (271, 522), (2, 4): (532, 266),
}  # fmt: skip
BEGIN = 57910.25  # MJD, June 2017: Side 2, and within the range of the built-in tables


def raw_ltv(amp, binning):
    """LTV1 and LTV2 of a raw frame: the overscan is left for A and C, right for B and D; low for C and D."""
    x = {1: (19.0, 19.0), 2: (9.75, 10.75), 4: (5.125, 10.625)}[binning[0]][amp in "BD"]
    y = {1: (0.0, 20.0), 2: (0.25, 10.25), 4: (0.375, 10.375)}[binning[1]][amp in "CD"]
    return x, y


def raw_frame(seed, shape, level=1500.0, noise=3.0):
    """Counts of a bias frame: level, noise and a slope in both directions."""
    generator = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = generator.normal(level + 0.01 * y - 0.02 * x, noise)
    return image.round().clip(0, 65535).astype(np.uint16)


def _null(name, version, shape, value=0):
    hdu = fits.ImageHDU(name=name, ver=version)
    hdu.header["NPIX1"], hdu.header["NPIX2"], hdu.header["PIXVALUE"] = shape[1], shape[0], value
    return hdu


def write_raw(
    path, target="BIAS", imsets=2, amp="D", gain=1, binning=(1, 1), shape=(24, 40), exptime=None, seed=0, begin=BEGIN,
    primary=(), sci=(), frames=None,
):  # fmt: skip
    """A raw exposure; a frame as small as the default has no overscan, so the bias level is that of the CCDTAB."""
    path = Path(path)
    exptime = (1100.0 if target == "DARK" else 0.0) if exptime is None else exptime
    header = fits.Header(
        {
            "TELESCOP": "HST", "INSTRUME": "STIS", "DETECTOR": "CCD", "ROOTNAME": path.name.partition("_")[0],
            "FILENAME": path.name, "FILETYPE": "SCI", "TARGNAME": target, "PROPOSID": 14819,
            "PROPTTL1": "CCD Bias and Read Noise Monitor", "OBSTYPE": "IMAGING", "OBSMODE": "ACCUM",
            "OPT_ELEM": "MIRVIS", "APERTURE": "50CCD", "APER_FOV": "51x51",
            "TEXPSTRT": begin, "TEXPEND": begin + 0.02, "TEXPTIME": exptime * imsets,
            "CCDAMP": amp, "CCDGAIN": gain, "CCDOFFST": 3, "BINAXIS1": binning[0], "BINAXIS2": binning[1],
            "DQICORR": "PERFORM", "BLEVCORR": "PERFORM", "BIASCORR": "PERFORM", "CRCORR": "OMIT",
            "CCDTAB": "oref$16j1600do_ccd.fits", "BPIXTAB": "oref$h1v11475o_bpx.fits",
            "CRREJTAB": "oref$j3m1403io_crr.fits", "BIASFILE": "N/A",
            "ATODGAIN": 0.0, "READNSE": 0.0, "NEXTEND": 3 * imsets,
        }
    )  # fmt: skip
    header.update(dict(primary))
    hdus = fits.HDUList([fits.PrimaryHDU(header=header)])
    x, y = raw_ltv(amp if amp in "ABCD" else "D", binning)
    for number in range(1, imsets + 1):
        image = raw_frame(1000 * seed + number, shape) if frames is None else frames[number - 1]
        science = fits.ImageHDU(image, name="SCI", ver=number)
        start = begin + (number - 1) * 0.01
        science.header.update(
            {
                "EXPNAME": path.name[:9], "EXPSTART": start, "EXPEND": start + 0.01, "EXPTIME": exptime,
                "EXPFLAG": "NORMAL", "BUNIT": "COUNTS", "SDQFLAGS": 31743, "OCCDHTAV": 21.0, "NCOMBINE": 1,
                "LTV1": x, "LTV2": y, "LTM1_1": 1.0 / binning[0], "LTM2_2": 1.0 / binning[1],
            }
        )  # fmt: skip
        changes = dict(sci[number - 1] if isinstance(sci, list) else sci)
        for key, value in changes.items():
            if value is None:
                del science.header[key]
            else:
                science.header[key] = value
        for hdu in (science, _null("ERR", number, image.shape), _null("DQ", number, image.shape)):
            hdus.append(hdu)
    for key in [key for key, value in dict(primary).items() if value is None]:
        del hdus[0].header[key]
    hdus.writeto(path)
    return path


def write_reference(path, sci, err=None, dq=None, primary=(), extension=()):
    """A reference image: one image set of arrays."""
    sci = np.asarray(sci, dtype=np.float32)
    header = fits.Header(
        {
            "TELESCOP": "HST", "INSTRUME": "STIS", "DETECTOR": "CCD", "CCDAMP": "D",
            "FILETYPE": "DARK IMAGE" if Path(path).stem.endswith("drk") else "CCD BIAS IMAGE",
            "CCDGAIN": 1, "CCDOFFST": 3, "BINAXIS1": 1, "BINAXIS2": 1, "PEDIGREE": "INFLIGHT 01/06/2017 08/06/2017",
            "USEAFTER": "Jun 01 2017 00:00:00", "DESCRIP": "made for a test", "NEXTEND": 3,
        }
    )  # fmt: skip
    header.update(dict(primary))
    err = np.zeros_like(sci) if err is None else np.asarray(err, dtype=np.float32)
    dq = np.zeros(sci.shape, dtype=np.int16) if dq is None else np.asarray(dq, dtype=np.int16)
    hdus = [
        fits.ImageHDU(array, name=name, ver=1) for name, array in (("SCI", sci), ("ERR", err), ("DQ", dq))
    ]
    for hdu in hdus:
        hdu.header.update(dict(extension))
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus]).writeto(path)
    return Path(path)


def write_table(path, rows, header=(), primary=()):
    """A reference table of rows that are dictionaries."""
    hdu = fits.BinTableHDU(Table(rows=rows))
    hdu.header.update(dict(header))
    first = fits.PrimaryHDU(
        header=fits.Header({"PEDIGREE": "INFLIGHT 01/01/2015 01/01/2016", **dict(primary)})
    )
    fits.HDUList([first, hdu]).writeto(path)
    return Path(path)


def ccd_row(**changes):
    """A row of a CCDTAB."""
    return {
        "CCDAMP": "ANY", "CCDGAIN": -1, "CCDOFFST": -1, "BINAXIS1": -1, "BINAXIS2": -1, "ATODGAIN": 1.0,
        "CCDBIAS": 1500.0, "READNSE": 5.0, "SATURATE": 33000.0, "BLEV_CLIP": 50.0, **changes,
    }  # fmt: skip


def rejection_row(**changes):
    """A row of a CRREJTAB."""
    return {
        "CRSPLIT": 2, "MEANEXP": 1e5, "SCALENSE": "0.0", "INITGUES": "minimum", "SKYSUB": "none", "CRSIGMAS": "4.0",
        "CRRADIUS": 1.5, "CRTHRESH": 0.8, "BADINPDQ": 0, "CRMASK": True, **changes,
    }  # fmt: skip


def in_memory(sci, err=0.0, dq=0, primary=(), headers=()):
    """An exposure that lies nowhere: image sets of the arrays in ``sci``."""
    header = fits.Header(
        {
            "FILENAME": "memory_flt.fits", "INSTRUME": "STIS", "DETECTOR": "CCD", "TARGNAME": "DARK", "CCDAMP": "D",
            "CCDGAIN": 1, "CCDOFFST": 3, "BINAXIS1": 1, "BINAXIS2": 1, "TEXPSTRT": BEGIN, "TEXPEND": BEGIN + 0.1,
            "ATODGAIN": 1.0, "READNSE": 5.0, "PROPOSID": 14819, "PROPTTL1": "Dark Monitor", **dict(primary),
        }
    )  # fmt: skip
    imsets = []
    for number, image in enumerate(sci):
        values = {
            "EXPTIME": 1100.0,
            "EXPSTART": BEGIN + number,
            "EXPEND": BEGIN + number + 0.01,
            "OCCDHTAV": 21.0,
        }
        values.update(headers[number] if isinstance(headers, list) else dict(headers))
        planes = [Pixels.of(np.asarray(image))]
        for plane, dtype in ((err, np.float32), (dq, np.int16)):
            plane = plane[number] if isinstance(plane, list) else plane
            whole = isinstance(plane, np.ndarray)
            planes.append(Pixels.of(plane) if whole else Pixels.filled(image.shape, dtype, plane))
        imsets.append(
            Imset(*planes, Keywords(fits.Header(values)), Keywords(fits.Header()), Keywords(fits.Header()))
        )
    return Exposure(Keywords(header), tuple(imsets)).recorded()


def arrays(exposure, imset=0):
    """SCI, ERR and DQ of an image set."""
    found = exposure.imsets[imset]
    return ReferenceImage(found.sci[:], found.err[:], found.dq[:])


def association(path, bias=(), dark=(), name=None, **references):
    """An association in JSON with members named relative to its folder."""
    members = [
        {"expname": str(f), "exptype": role}
        for role, files in (("bias", bias), ("dark", dark))
        for f in files
    ]
    members += [{"expname": str(file), "exptype": role} for role, file in references.items()]
    product = {"members": members} if name is None else {"name": name, "members": members}
    path.write_text(json.dumps({"products": [product]}))
    return path


def checksums(folder):
    """SHA-256 of every file below a folder."""
    files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# -------------------------------------------------------------- a month

MONTH_SHAPE = (20, 40)
MONTH_BIASES = ["ob01010_raw.fits", "ob02010_raw.fits", "ob03010_raw.fits"]
MONTH_DARKS = ["od01010_raw.fits", "od02010_raw.fits", "od03010_raw.fits", "od04010_raw.fits"]


def with_defects(seed, hot=()):
    """A frame without overscan: CCDBIAS of the built-in table, noise, a hot column, hot pixels and a hit."""
    image = raw_frame(seed, MONTH_SHAPE, level=1402.0).astype(np.int64)
    image[:, 12] += 15
    for y, x, counts in hot:
        image[y, x] += counts
    image[seed % 20, 2 * seed % 40] += 3000
    return image.astype(np.uint16)


def write_month(folder):
    """Three biases of three image sets, four darks, their baselines, and an association for each pipeline."""
    # without overscan the first pixel is the first illuminated one
    trimmed = {"LTV1": 0.0, "LTV2": 0.0}
    for n, name in enumerate(MONTH_BIASES):
        frames = [with_defects(10 * n + i, [(5, 5, 60)]) for i in range(3)]
        write_raw(
            folder / name,
            "BIAS",
            imsets=3,
            frames=frames,
            begin=BEGIN + n,
            primary={"BPIXTAB": "N/A"},
            sci=trimmed,
        )
    for n, name in enumerate(MONTH_DARKS):
        frames = [with_defects(100 + n, [(5, 5, 60), (8, 30, 500), (15, 22, 2000)])]
        write_raw(
            folder / name,
            "DARK",
            imsets=1,
            frames=frames,
            begin=BEGIN + n,
            primary={"BPIXTAB": "N/A"},
            sci=trimmed,
        )
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.5, MONTH_SHAPE)
    flags = np.zeros(MONTH_SHAPE, dtype=np.int16)
    flags[5, 5] = 16
    primary = {"TASKNAME": "refbias"}
    write_reference(folder / "super_bia.fits", noise, np.full(MONTH_SHAPE, 0.4), flags, primary)
    write_reference(
        folder / "base_bia.fits", noise + 0.1, np.full(MONTH_SHAPE, 0.3), primary={"TASKNAME": "BASEJOIN"}
    )
    rate = generator.normal(0.01, 0.003, MONTH_SHAPE)
    rate[3, 3] = 2.0  # annealed since
    primary = {"FILETYPE": "DARK IMAGE", "TASKNAME": "BASEDARK"}
    write_reference(folder / "base_drk.fits", rate, np.full(MONTH_SHAPE, 0.001), primary=primary)
    for name, members in MONTH_MEMBERS.items():
        association(folder / f"{name}.json", **members)


MONTH_MEMBERS = {
    "basebias": {"bias": MONTH_BIASES},
    "refbias": {"bias": MONTH_BIASES},
    "weekbias": {"bias": MONTH_BIASES, "basebias": "base_bia.fits"},
    "basedark": {"dark": MONTH_DARKS, "superbias": "super_bia.fits"},
    "weekdark": {"dark": MONTH_DARKS, "superbias": "super_bia.fits", "basedark": "base_drk.fits"},
}


def fitted(x, values):
    """Slope and value at 0 of the line through all points; None where there is none."""
    found, *both = fit_line(x, values, np.ones(len(x), dtype=np.int64))
    return tuple(both) if found else None
