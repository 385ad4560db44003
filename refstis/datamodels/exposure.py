"""Exposures: a primary header and image sets of science, error and data quality images."""

from __future__ import annotations

import math
import os
import sys
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.io import fits

from refstis.calibration.geometry import PixelGrid
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.blocks import BLOCK, LONGEST_SIDE, scan_hdus
from refstis.datamodels.checksums import file_state
from refstis.datamodels.damage import UNREADABLE, open_fits
from refstis.datamodels.keywords import Keywords
from refstis.datamodels.pixels import Pixels, remembered
from refstis.errors import InputError, OutputError

__all__ = ["Exposure", "Imset", "InputRecord"]

EXTENSIONS_PER_IMSET = 3
# Keywords that describe how pixels are stored: they are made anew for what is written (CALSTIS's own list).
STORAGE_KEYWORDS = (
    "BITPIX", "BSCALE", "BZERO", "DATAMAX", "DATAMIN", "DATATYPE", "DATE", "EXTEND", "GCOUNT", "GROUPS", "NAXIS",
    "NAXIS1", "NAXIS2", "ORIGIN", "PCOUNT", "PSIZE", "SIMPLE", "XTENSION",
)  # fmt: skip
REFERENCE_FILETYPES = ("CCD BIAS IMAGE", "DARK IMAGE")
# Keywords that are numbers: whether whole ones, and the least and greatest that make sense.
PRIMARY_NUMBERS = {
    "TEXPSTRT": (False, 0, 2e5), "TEXPEND": (False, 0, 2e5), "TEXPTIME": (False, 0, 1e7), "PROPOSID": (True, 0, 1e8),
    "CCDGAIN": (True, -1, 100), "CCDOFFST": (True, -1, 100), "BINAXIS1": (True, -1, 100), "BINAXIS2": (True, -1, 100),
    "ATODGAIN": (False, 0, 1e4), "READNSE": (False, 0, 1e4), "NCOMBINE": (True, 0, 1e6), "NEXTEND": (True, 0, 1e5),
    "DRK_VS_T": (False, -10, 10), "REF_TEMP": (False, -300, 300),
}  # fmt: skip
SCI_NUMBERS = {
    "EXPTIME": (False, 0, 1e7), "EXPSTART": (False, 0, 2e5), "EXPEND": (False, 0, 2e5), "NCOMBINE": (True, 0, 1e6),
    "OCCDHTAV": (False, -300, 300), "SDQFLAGS": (True, -(2**31), 2**31 - 1), "DISPAXIS": (True, 0, 2),
    "LTV1": (False, -1e4, 1e4), "LTV2": (False, -1e4, 1e4), "LTM1_1": (False, 0.01, 100), "LTM2_2": (False, 0.01, 100),
    "CRPIX1": (False, -1e9, 1e9), "CRPIX2": (False, -1e9, 1e9), "MEANBLEV": (False, -1e9, 1e9),
    "CD1_1": (False, -1e9, 1e9), "CD1_2": (False, -1e9, 1e9), "CD2_1": (False, -1e9, 1e9), "CD2_2": (False, -1e9, 1e9),
}  # fmt: skip
# BSCALE and BZERO of more make no number that float32 could hold.
MOST_SCALE = 1e30
# Bytes that are read at a time.
READ_BYTES = 2**17
# Frames whose memory is kept for the next ones.
MOST_SPARE = 16
STEP_SWITCHES = (
    "DQICORR", "BLEVCORR", "BIASCORR", "CRCORR", "DARKCORR", "TEMPCORR",
)  # fmt: skip


@dataclass(frozen=True)
class Imset:
    """One image set: the pixels of one readout, or of a combination.

    Parameters
    ----------
    sci, err : Pixels
        Values and uncertainties, float32; a raw frame is uint16.
    dq : Pixels
        Data quality flags, int16.
    sci_header, err_header, dq_header : Keywords
        The headers of the three extensions.
    """

    sci: Pixels
    err: Pixels
    dq: Pixels
    sci_header: Keywords
    err_header: Keywords
    dq_header: Keywords

    @property
    def exptime(self) -> float:
        """Exposure time (s)."""
        return float(self.sci_header["EXPTIME"])

    @property
    def housing_temperature(self) -> float | None:
        """CCD housing temperature OCCDHTAV (deg C); None where it is missing."""
        value = self.sci_header.get("OCCDHTAV")
        return None if value is None else float(value)

    @property
    def sdqflags(self) -> int:
        """Bits that count as serious (SDQFLAGS), as signed 16-bit number."""
        return int(np.int32(self.sci_header.get("SDQFLAGS", 32767)).astype(np.int16))

    @property
    def good(self) -> bool:
        """False where calibration marked the imset as bad (IMSET_OK)."""
        return bool(self.sci_header.get("IMSET_OK", True))

    @property
    def grid(self) -> PixelGrid:
        """How the pixels lie on the CCD (LTM and LTV)."""
        header = self.sci_header
        return PixelGrid(
            (float(header.get("LTM1_1", 1.0)), float(header.get("LTM2_2", 1.0))),
            (float(header.get("LTV1", 0.0)), float(header.get("LTV2", 0.0))),
        )

    def with_pixels(
        self, sci: Pixels | None = None, err: Pixels | None = None, dq: Pixels | None = None
    ) -> Imset:
        """The same imset with other pixels.

        Parameters
        ----------
        sci, err, dq : Pixels, optional
            New images; those not given stay.

        Returns
        -------
        Imset
            A new object.
        """
        return replace(self, sci=sci or self.sci, err=err or self.err, dq=dq or self.dq)

    def with_keywords(
        self, sci: Mapping[str, Any], err: Mapping[str, Any] = {}, dq: Mapping[str, Any] = {}
    ) -> Imset:
        """The same imset with other keywords.

        Parameters
        ----------
        sci, err, dq : mapping
            Changes to the headers of the three extensions.

        Returns
        -------
        Imset
            A new object.
        """
        return replace(
            self,
            sci_header=self.sci_header.changed(sci),
            err_header=self.err_header.changed(err) if err else self.err_header,
            dq_header=self.dq_header.changed(dq) if dq else self.dq_header,
        )

    @classmethod
    def of_arrays(cls, sci: np.ndarray, err: np.ndarray, dq: np.ndarray, like: Imset) -> Imset:
        """An imset of arrays with the headers of another.

        Parameters
        ----------
        sci, err, dq : numpy.ndarray
            Values and uncertainties (float32) and flags (int16).
        like : Imset
            Where the headers come from.

        Returns
        -------
        Imset
            A new object.
        """
        return like.with_pixels(Pixels.of(sci), Pixels.of(err), Pixels.of(dq))


@dataclass(frozen=True)
class InputRecord:
    """What a product's header tells of one input file.

    Parameters
    ----------
    name : str
        File name without folder.
    path : pathlib.Path or None
        Where it lies.
    imsets : int
        Number of image sets used.
    begin, end : float
        TEXPSTRT and TEXPEND (MJD).
    proposal : int
        PROPOSID.
    title : str
        Title of the proposal (PROPTTL1).
    """

    name: str
    path: Path | None
    imsets: int
    begin: float
    end: float
    proposal: int
    title: str


@dataclass(frozen=True, repr=False)
class Exposure:
    """One FITS file of image sets: a data model in stpipe's sense.

    An exposure is never changed: what calibrates it makes a new one that shares what stayed the same.

    Parameters
    ----------
    primary : Keywords
        Primary header.
    imsets : tuple of Imset
        Image sets in the order of EXTVER.
    path : pathlib.Path or None
        File that it was read from.
    inputs : tuple of InputRecord
        Files that it was made of.
    procedure : tuple of str
        What was done to it in this run, one sentence or more for each stage.
    input_dq : tuple of Pixels
        After cosmic-ray rejection with CRMASK: the new flags of each image set that went in.
    """

    primary: Keywords
    imsets: tuple[Imset, ...]
    path: Path | None = None
    inputs: tuple[InputRecord, ...] = ()
    procedure: tuple[str, ...] = ()
    input_dq: tuple[Pixels, ...] = ()
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False)

    crds_observatory = "hst"

    @classmethod
    def open(cls, path: str | os.PathLike) -> Exposure:
        """Read the headers of a file; pixels follow when somebody asks for them.

        Parameters
        ----------
        path : str or os.PathLike
            A FITS file with image sets; plain, gzipped or tile-compressed.

        Returns
        -------
        Exposure
            The exposure.

        Raises
        ------
        InputError
            Where the file is missing, cut short or not made of image sets.
        """
        path = Path(path)
        primary, hdus = _read_headers(path)
        _check_numbers(path, "primary header", primary, PRIMARY_NUMBERS)
        count, rest = divmod(int(primary.get("NEXTEND", len(hdus))), EXTENSIONS_PER_IMSET)
        if count < 1 or rest:
            raise InputError(
                f"{path}: NEXTEND is {primary.get('NEXTEND')}; an exposure has three extensions (SCI, ERR, DQ) for "
                "each image set. Check that this is a STIS image file (raw, flt, crj or a reference image)."
            )
        imsets = tuple(_imset(path, hdus, version) for version in range(1, count + 1))
        for version, imset in enumerate(imsets, start=1):
            _check_numbers(path, f"image set {version}", imset.sci_header, SCI_NUMBERS)
        return cls(primary, imsets, path.absolute()).recorded()

    def recorded(self) -> Exposure:
        """The same exposure with itself as its only input.

        Returns
        -------
        Exposure
            A new object whose record holds the file's name, dates and proposal.
        """
        header = self.primary
        record = InputRecord(
            name=self.name,
            path=self.path,
            imsets=len(self.imsets),
            begin=float(header.get("TEXPSTRT", 0.0) or 0.0),
            end=float(header.get("TEXPEND", 0.0) or 0.0),
            proposal=int(header.get("PROPOSID", 0) or 0),
            title=str(header.get("PROPTTL1", "")),
        )
        return replace(self, inputs=(record,))

    @property
    def name(self) -> str:
        """File name without folder, for messages and headers."""
        return self.path.name if self.path else str(self.primary.get("FILENAME", "") or "product")

    @property
    def meta(self) -> SimpleNamespace:
        """What stpipe asks of a data model: file name and state of the steps."""
        return SimpleNamespace(
            filename=str(self.path or self.name),
            cal_step=SimpleNamespace(**{key.lower(): self.switch(key) for key in STEP_SWITCHES}),
        )

    def get_crds_parameters(self) -> dict[str, Any]:
        """Values that CRDS selects reference files by.

        Returns
        -------
        dict
            Keywords of the primary header and of the first image set's science header.
        """
        header = {key: self.imsets[0].sci_header.get(key) for key in ("DATE-OBS", "TIME-OBS")}
        header.update(
            {key: self.primary.get(key) for key in self.primary if key not in ("", "HISTORY", "COMMENT")}
        )
        return {key: value for key, value in header.items() if value is not None}

    def switch(self, name: str) -> str:
        """State of a calibration switch.

        Parameters
        ----------
        name : str
            Keyword, such as BLEVCORR.

        Returns
        -------
        str
            In upper case; OMIT where the keyword is missing.
        """
        return str(self.primary.get(name, "OMIT")).strip().upper() or "OMIT"

    def done(self, name: str) -> bool:
        """Whether a calibration switch says COMPLETE.

        Parameters
        ----------
        name : str
            Keyword, such as BLEVCORR.

        Returns
        -------
        bool
            True for COMPLETE.
        """
        return self.switch(name) == "COMPLETE"

    @property
    def start_mjd(self) -> float:
        """Start of the exposure TEXPSTRT (MJD)."""
        return float(self.primary["TEXPSTRT"])

    @property
    def ncombine(self) -> int:
        """Number of frames in the first image set (NCOMBINE, at least 1)."""
        return max(int(self.imsets[0].sci_header.get("NCOMBINE", self.primary.get("NCOMBINE", 1))), 1)

    def changed(
        self,
        changes: Mapping[str, Any] | None = None,
        imsets: Iterable[Imset] | None = None,
        procedure: str | None = None,
        history: Iterable[str] = (),
    ) -> Exposure:
        """The same exposure with other keywords or image sets.

        Parameters
        ----------
        changes : mapping, optional
            Changes to the primary header.
        imsets : iterable of Imset, optional
            New image sets.
        procedure : str, optional
            What was done.
        history : iterable of str
            Lines of HISTORY to add.

        Returns
        -------
        Exposure
            A new object.
        """
        return replace(
            self,
            primary=self.primary.changed(changes or {}, history),
            imsets=self.imsets if imsets is None else tuple(imsets),
            procedure=self.procedure if procedure is None else (*self.procedure, procedure),
        )

    def remember(self, question: Hashable, answer: Callable[[], Exposure]) -> Exposure:
        """What a stage makes of this exposure, made once: in a month every bias goes into two products.

        Parameters
        ----------
        question : hashable
            The stage, with everything that its answer depends on besides the exposure.
        answer : callable
            Makes it.

        Returns
        -------
        Exposure
            To equal questions always the same object.
        """
        return remembered(self._known, question, answer)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the pixels that are read, as they are asked for several times.

        Without that, or after the last of those who share this exposure, they are read from the file whenever
        somebody asks for them.

        Yields
        ------
        None
            While they are kept.
        """
        for pixels in self._planes():
            pixels.hold(1)
        try:
            yield
        finally:
            for pixels in self._planes():
                pixels.hold(-1)

    def _planes(self) -> Iterator[Pixels]:
        for imset in self.imsets:
            yield from (imset.sci, imset.err, imset.dq)

    def map_imsets(self, function: Callable[[Imset], Imset]) -> Exposure:
        """The same exposure with a function applied to each image set.

        Parameters
        ----------
        function : callable
            Takes an Imset and returns one.

        Returns
        -------
        Exposure
            A new object.
        """
        return self.changed(imsets=[function(imset) for imset in self.imsets])

    def save(
        self,
        path,
        dir_path=None,
        overwrite: bool = True,
        inputs: Iterable[Path] = (),
        before_rename: Callable[[], None] | None = None,
    ) -> str:
        """Write the exposure; the file appears whole, after it was read back, or not at all.

        Parameters
        ----------
        path : str, os.PathLike or callable
            Where to; a callable takes the present file name and returns it.
        dir_path : str, optional
            Folder that replaces the one of the path.
        overwrite : bool
            Whether an existing file may be replaced.
        inputs : iterable of pathlib.Path
            Files that must not be replaced, beside those that the exposure was made of.
        before_rename : callable, optional
            What to do when the file is complete and not yet under its name.

        Returns
        -------
        str
            Where it was written.

        Raises
        ------
        OutputError
            Where the file exists and must not be replaced, is an input of the exposure, or cannot be written.
        """
        target = Path(path(self.meta.filename) if callable(path) else path)
        if dir_path is not None:
            target = Path(dir_path) / target.name
        made_of = [record.path for record in self.inputs if record.path]
        with atomic_write(target, overwrite=overwrite, inputs=[*made_of, *inputs]) as stream:
            written = 0
            for part in self._blocks(target.name):
                stream.write(part)
                written = zlib.crc32(part, written)
            stream.flush()
            _read_back(stream.name, written, target)
            if before_rename is not None:
                before_rename()
        return str(target)

    def _blocks(self, filename: str) -> Iterator[bytes | memoryview]:
        """The exposure as FITS, with null HDUs for constant errors and flags; one HDU after the other is in memory."""
        header = _without_storage(
            self.primary.changed({"FILENAME": filename, "NEXTEND": 3 * len(self.imsets)})
        )
        header.insert(0, ("ORIGIN", "refstis", "FITS file originator"))
        primary = fits.PrimaryHDU(header=header)
        primary.header.set("EXTEND", True, after="NAXIS")
        yield from _hdu_blocks(primary, None)
        # users of reference images expect arrays
        null = self.primary.get("FILETYPE") not in REFERENCE_FILETYPES
        for version, imset in enumerate(self.imsets, start=1):
            yield from _image_blocks("SCI", version, imset.sci, imset.sci_header, may_be_null=False)
            yield from _image_blocks("ERR", version, imset.err, imset.err_header, null)
            yield from _image_blocks("DQ", version, imset.dq, imset.dq_header, null)

    def __repr__(self):
        return f"<Exposure {self.name}: {len(self.imsets)} image set(s)>"


def _without_storage(keywords):
    return keywords.changed(dict.fromkeys(STORAGE_KEYWORDS)).header()


def _read_back(name, written, target):
    """Compare what lies on disk with what was to be written, by their cyclic redundancy checks."""
    found = 0
    with Path(name).open("rb") as stream:
        while part := stream.read(READ_BYTES):
            found = zlib.crc32(part, found)
    if found != written:
        raise OutputError(
            f"{target}: the file on disk differs from what was written; the disk cannot be trusted. Nothing "
            "was left behind: write to another disk."
        )


def _image_blocks(name, version, pixels, keywords, may_be_null):
    """An image extension as it stands in a file."""
    changes = dict.fromkeys(("NPIX1", "NPIX2", "PIXVALUE"))
    data = None
    constant = pixels.constant if may_be_null else None
    if constant is None:
        data = pixels[:]
        if may_be_null and data.size and (data == data.flat[0]).all():
            constant = data.flat[0].item()
    if constant is not None:
        data = None
        value = int(constant) if pixels.dtype.kind == "i" else float(constant)
        changes = {
            "NPIX1": (pixels.shape[1], "length of constant array axis 1"),
            "NPIX2": (pixels.shape[0], "length of constant array axis 2"),
            "PIXVALUE": (value, "values of pixels in constant array"),
        }
    header = _without_storage(keywords.changed(changes))
    header["EXTNAME"], header["EXTVER"] = name, version
    yield from _hdu_blocks(fits.ImageHDU(data=data, header=header, name=name, ver=version), data)


def _hdu_blocks(hdu, data):
    """Header and data of an HDU as they stand in a file, filled up to whole blocks."""
    hdu.verify("exception")
    yield hdu.header.tostring().encode("ascii")
    if data is not None:
        if data.dtype == np.uint16:
            # as signed integers with BZERO: subtracting 32768 flips the first bit
            data = (data ^ np.uint16(0x8000)).view(np.int16)
        yield memoryview(data.astype(data.dtype.newbyteorder(">")).ravel().view(np.uint8))
        yield bytes(-data.nbytes % BLOCK)


class _File:
    """A file whose pixels are read when they are asked for.

    Parameters
    ----------
    path : pathlib.Path
        Where it lies.
    """

    def __init__(self, path: Path):
        self.path = path
        # they hold the file, and nobody goes through circles while products are made
        self.images: list[weakref.ref[StoredPixels]] = []
        self.lock = threading.Lock()
        self._state: tuple[int, int, int] | None = None

    @contextmanager
    def opened(self) -> Iterator[FileIO]:
        """Open the file, which must be the one that was read from before.

        Yields
        ------
        io.FileIO
            The file.
        """
        try:
            with self.path.open("rb", buffering=0) as stream:
                self._check(file_state(stream.fileno()))
                yield stream
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be read any more ({error}). Check the file and run again."
            ) from error

    def _check(self, state):
        # what is made of two versions of a file would be of none
        if self._state is None:
            self._state = state
        elif self._state != state:
            raise InputError(f"{self.path}: was changed while it was in use. Run again.")

    def fill(self, stream: FileIO, begin: int, stored: np.ndarray) -> None:
        """Fill an array with the bytes that stand in the file.

        Parameters
        ----------
        stream : io.FileIO
            The file, open.
        begin : int
            Place of the first one.
        stored : numpy.ndarray
            Contiguous array of any type.

        Raises
        ------
        InputError
            Where the file ends before.
        """
        stream.seek(begin)
        count = stream.readinto(stored.data.cast("B"))
        if count != stored.nbytes:
            raise InputError(
                f"{self.path}: the pixels end after {begin + (count or 0)} of {begin + stored.nbytes} bytes; the file "
                "was cut short while it was in use. Copy it again and run again."
            )

    def read_raw(self, stream: FileIO, begins: Sequence[int], frames: Sequence[np.ndarray]) -> None:
        """Read raw frames, or some of their rows.

        Parameters
        ----------
        stream : io.FileIO
            The file, open.
        begins : sequence of int
            Places of their first bytes.
        frames : sequence of numpy.ndarray
            Where to: uint16, contiguous.

        Raises
        ------
        InputError
            Where the file ends before.
        """
        from refstis.calibration.stored import read_unsigned, unsigned_of_stored

        done = 0
        if hasattr(os, "pread"):
            # in one step, which leaves the interpreter to other threads
            addresses = np.array([frame.ctypes.data for frame in frames], dtype=np.uint64)
            sizes = np.array([frame.size for frame in frames])
            done = read_unsigned(stream.fileno(), np.array(begins), sizes, addresses)
        for begin, frame in list(zip(begins, frames, strict=True))[done:]:
            self.fill(stream, begin, frame)
            unsigned_of_stored(frame)


# Memory of frames that nobody uses any more: the next frame lies in pages that the process has already.
_spare: deque[np.ndarray] = deque(maxlen=MOST_SPARE)


def _references_of_unused() -> int:
    array = np.empty(0)
    return sys.getrefcount(array)


# How many references an array has that a local name alone refers to: not the same in all versions of Python.
_UNUSED = _references_of_unused()


def _memory(shape, dtype):
    with suppress(IndexError):
        array = _spare.pop()
        if array.shape == shape and array.dtype == dtype:
            return array
    return np.empty(shape, dtype)


class StoredPixels:
    """Pixels of one image HDU, which stay in the file: rows are read when they are asked for.

    Parameters
    ----------
    file : _File
        The file.
    header : mapping
        Header of the HDU.
    begin : int
        Place of its first byte in the file.

    Attributes
    ----------
    array : numpy.ndarray or None
        All pixels, where they are in memory.
    users : int
        How many want them to stay there.
    """

    def __init__(self, file: _File, header, begin: int):
        self.file, self.header, self.begin = file, header, begin
        self.shape = int(header["NAXIS2"]), int(header["NAXIS1"])
        self.dtype = _pixel_dtype(header)
        self.array: np.ndarray | None = None
        self.users = 0
        file.images.append(weakref.ref(self))

    def __call__(self, rows, columns):
        array = self.array
        if array is None and self.users:
            array = self._kept()
        if array is not None:
            return array[rows, columns]
        out = np.empty((rows.stop - rows.start, self.shape[1]), dtype=self.dtype)
        with self.file.opened() as stream:
            self._read(stream, rows.start, out)
        return out[:, columns]

    def hold(self, users):
        """Keep what is read, as long as there are users; see `Pixels.hold`.

        Parameters
        ----------
        users : int
            1 for another one, -1 for one less.
        """
        with self.file.lock:
            self.users += users
            if self.users:
                return
            array, self.array = self.array, None
        # but for views that somebody still has
        if array is not None and sys.getrefcount(array) == _UNUSED:
            _spare.append(array)

    def _kept(self):
        """All pixels, which are kept. Who asks for one raw frame asks for the others of its file next."""
        with self.file.lock:
            if self.array is None:
                raw = self.dtype == np.uint16
                others = [one for reference in self.file.images if (one := reference()) is not None]
                wanted = [
                    one for one in others
                    if one is self or (raw and one.dtype == np.uint16 and one.users and one.array is None)
                ]  # fmt: skip
                arrays = [_memory(one.shape, one.dtype) for one in wanted]
                with self.file.opened() as stream:
                    if raw:
                        self.file.read_raw(stream, [one.begin for one in wanted], arrays)
                    else:
                        self._read(stream, 0, arrays[0])
                for one, array in zip(wanted, arrays, strict=True):
                    one.array = array
            return self.array

    def _read(self, stream, first, pixels):
        """Read some rows."""
        bitpix = int(self.header["BITPIX"])
        line = max(abs(bitpix) // 8 * pixels.shape[1], 1)
        if self.dtype == np.uint16:
            self.file.read_raw(stream, [self.begin + first * line], [pixels])
            return
        # few rows at a time: they stay in the cache until they are decoded
        step = max(READ_BYTES // line, 1)
        stored = np.empty((step, pixels.shape[1]), dtype=f">{'f' if bitpix < 0 else 'i'}{abs(bitpix) // 8}")
        for begin in range(0, pixels.shape[0], step):
            rows = stored[: pixels.shape[0] - begin]
            self.file.fill(stream, self.begin + (first + begin) * line, rows)
            pixels[begin : begin + len(rows)] = _decode(rows, self.header, self.file.path)


def _pixel_dtype(header):
    """Type that the pixels of an image HDU have in memory, by EXTNAME and storage."""
    if header.get("EXTNAME", "").strip() == "DQ":
        return np.dtype(np.int16)
    raw = header["BITPIX"] == 16 and header.get("BZERO", 0) == 32768 and header.get("BSCALE", 1) == 1
    return np.dtype(np.uint16 if raw else np.float32)


def _decode(stored, header, path):
    dtype = _pixel_dtype(header)
    zero, scale = header.get("BZERO", 0), header.get("BSCALE", 1)
    # numpy turns the bytes round much faster while it copies them than in place
    values = stored.astype(stored.dtype.newbyteorder("="))
    if dtype == np.uint16:
        # adding 32768 to a signed integer flips its first bit
        unsigned = values.view(np.uint16)
        return np.bitwise_xor(unsigned, np.uint16(0x8000), out=unsigned)
    if (zero, scale) != (0, 1):
        values = values * float(scale) + float(zero)
    if (
        dtype == np.int16
        and values.dtype != dtype
        and values.size
        and not -32768 <= values.min() <= values.max() <= 32767
    ):
        raise InputError(
            f"{path}: data quality flags from {values.min()} to {values.max()}; flags are 16-bit numbers with sign. "
            "Repair the DQ extension or leave the exposure out."
        )
    return values.astype(dtype, copy=False)


def _read_headers(path):
    """Primary header and the (header, pixels) of every image extension."""
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        hdus = None if zipped else scan_hdus(path)
        if hdus is None or any(hdu.header.get("ZIMAGE", False) for hdu in hdus[1:]):
            return _read_compressed(path)
        images = {}
        file = _File(path)
        for index, hdu in enumerate(hdus[1:], start=1):
            if str(hdu.header.get("XTENSION", "")).strip() == "IMAGE":
                name = str(hdu.header.get("EXTNAME", "")).strip().upper(), int(hdu.header.get("EXTVER", 1))
                images[name] = Keywords(hdu.header), _lazy_pixels(file, index, hdu, name[0])
        if hdus[0].data_size:
            raise InputError(f"{path}: pixels in the primary HDU; STIS files have them in extensions.")
        return Keywords(hdus[0].header), images
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Check the name and the folder.") from None
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not a readable FITS file ({error}). Copy or retrieve it again, or leave it out."
        ) from error


def _read_compressed(path):
    """As `_read_headers`, of a gzipped or tile-compressed file, whose pixels are all unpacked at once."""
    with open_fits(path, do_not_scale_image_data=True) as hdus:
        images = {}
        for hdu in hdus:
            for card in hdu.header.cards:
                _ = card.value  # raises here, and not when somebody needs it, where it cannot be parsed
        for index, hdu in enumerate(hdus[1:], start=1):
            if not hdu.is_image:
                continue
            null = _null_pixels(hdu.header, hdu.name)
            if null is None:
                _check_axes(path, index, hdu.header)
                null = Pixels.of(_decode(np.asarray(hdu.data), hdu.header, path))
            images[hdu.name, hdu.ver] = Keywords(hdu.header), null
        return Keywords(hdus[0].header), images


def _lazy_pixels(file, index, hdu, name):
    null = _null_pixels(hdu.header, name)
    if null is not None:
        return null
    _check_axes(file.path, index, hdu.header)
    stored = StoredPixels(file, hdu.header, hdu.data_begin)
    return Pixels(stored.shape, stored.dtype, stored)


def _null_pixels(header, name):
    """Pixels of an HDU without an array; None where it has one."""
    if int(header["NAXIS"]):
        return None
    shape = int(header.get("NPIX2", 1)), int(header.get("NPIX1", 0))
    value = float(header.get("PIXVALUE", 0))
    if not all(0 <= side <= LONGEST_SIDE for side in shape):
        raise ValueError(f"NPIX1 and NPIX2 of a {name} extension are {shape[1]} and {shape[0]}")
    if not math.isfinite(value) or (name == "DQ" and not -32768 <= value <= 32767):
        raise ValueError(f"PIXVALUE of a {name} extension is {value:g}")
    return Pixels.filled(shape, np.int16 if name == "DQ" else np.float32, value)


def _check_axes(path, index, header):
    if int(header["NAXIS"]) != 2:
        raise InputError(f"{path}: extension {index} has {header['NAXIS']} axes; an image has 2.")
    if int(header["BITPIX"]) not in (8, 16, 32, 64, -32, -64):
        raise InputError(
            f"{path}: BITPIX of extension {index} is {header['BITPIX']}; no FITS image has that."
        )
    for keyword in ("BZERO", "BSCALE"):
        value = header.get(keyword, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST_SCALE:
            raise InputError(
                f"{path}: {keyword} of extension {index} is {value!r}; expected a number. Retrieve the file again."
            )


def _check_numbers(path, where, header, numbers):
    """Refuse a header in which a number is none, or one that cannot be; what is missing is another matter."""
    for keyword, (whole, least, greatest) in numbers.items():
        value = header.get(keyword)
        if value is None:
            continue
        try:
            number = int(value) if whole else float(value)
            good = not isinstance(value, bool) and number == float(value) and least <= number <= greatest
        except (OverflowError, TypeError, ValueError):
            good = False
        if not good:
            raise InputError(
                f"{path}: {keyword} of the {where} is {value!r}; expected {'a whole number' if whole else 'a number'} "
                f"from {least:g} to {greatest:g}. Repair the header, retrieve the file again, or leave it out."
            )


def _imset(path, hdus, version):
    parts = []
    for name in ("SCI", "ERR", "DQ"):
        if (name, version) not in hdus:
            raise InputError(
                f"{path}: extension {name},{version} is missing; each image set has SCI, ERR and DQ. "
                "Copy or retrieve the file again, or leave it out."
            )
        parts.append(hdus[name, version])
    shapes = {pixels.shape for _, pixels in parts}
    if len(shapes) > 1:
        raise InputError(
            f"{path}: SCI, ERR and DQ of image set {version} have different sizes {sorted(shapes)}."
        )
    (sci_header, sci), (err_header, err), (dq_header, dq) = parts
    return Imset(sci, err, dq, sci_header, err_header, dq_header)
