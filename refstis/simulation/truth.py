"""The truth beside simulated raws: what a perfect calibration would find."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refstis.datamodels.damage import write_asdf
from refstis.errors import InputError
from refstis.simulation.detector import Detector, parameters
from refstis.simulation.readout import Readout

__all__ = ["Truth", "save_hits", "save_truth"]

_KIND = "refstis simulation truth"


def save_truth(
    path: Path, detector: Detector, rows: Sequence[dict[str, Any]], scene: np.ndarray | None
) -> None:
    """Write the truth of a detector and of the frames taken with it.

    Parameters
    ----------
    path : pathlib.Path
        ASDF file.
    detector : Detector
        The chip.
    rows : sequence of dict
        One for each frame.
    scene : numpy.ndarray or None
        Light of science exposures (electrons/s).
    """
    tree = {
        "kind": _KIND,
        "version": 1,
        "seed": detector.seed,
        "epoch": detector.epoch,
        "size": detector.size,
        "begin": detector.begin,
        "days": detector.days,
        "anneals": list(detector.anneals),
        "cti": detector.cti,
        "base": detector.base,
        "hot": dict(detector.hot),
        "columns": dict(detector.columns),
        "frames": {key: [row[key] for row in rows] for key in (rows[0] if rows else ())},
    }
    if scene is not None:
        tree["scene"] = scene.astype(np.float32)
    write_asdf(path, tree)


def save_hits(path: Path, struck: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write which pixels cosmic rays hit in the imsets of an exposure, and the electrons they left.

    Parameters
    ----------
    path : pathlib.Path
        ASDF file.
    struck : sequence of tuple of numpy.ndarray
        Flat index into the sensor and charge, for each imset.
    """
    tree = {
        "kind": _KIND,
        "index": [index for index, _ in struck],
        "charge": [charge for _, charge in struck],
    }
    write_asdf(path, tree)


class Truth:
    """What is known of a simulation.

    Parameters
    ----------
    detector : Detector
        The chip.
    frames : dict of numpy.ndarray
        Rows of all frames by column: ``rootname``, ``extver``, ``kind``, ``mjd``, ``exptime``,
        ``temperature``, ...
    scene : numpy.ndarray or None
        Light of science exposures (electrons/s).
    folder : pathlib.Path or None
        Where the cosmic rays of each exposure lie.
    """

    def __init__(
        self,
        detector: Detector,
        frames: dict[str, np.ndarray],
        scene: np.ndarray | None = None,
        folder: Path | None = None,
    ):
        self.detector, self.frames, self.scene, self.folder = detector, frames, scene, folder

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Truth":
        """Read the truth of a simulation.

        Parameters
        ----------
        path : str or os.PathLike
            ``truth.asdf``, or the folder that holds it.

        Returns
        -------
        Truth
            With all arrays in memory, apart from cosmic rays.

        Raises
        ------
        InputError
            If it is no truth of a simulation.
        """
        import asdf

        path = Path(path)
        if path.is_dir():
            path = path / "truth.asdf"
        try:
            with asdf.open(path, memmap=False, lazy_load=False) as document:
                tree = document.tree
                if tree.get("kind") != _KIND:
                    raise InputError(
                        f"{path}: not the truth of a simulation; give the truth.asdf beside the raws"
                    )
                tables = {
                    "base": np.array(tree["base"]),
                    "hot": {key: np.array(value) for key, value in tree["hot"].items()},
                    "columns": {key: np.array(value) for key, value in tree["columns"].items()},
                }
                detector = Detector(
                    tree["seed"],
                    tree["epoch"],
                    tree["size"],
                    begin=tree["begin"],
                    days=tree["days"],
                    anneals=tuple(tree["anneals"]),
                    cti=tree["cti"],
                    tables=tables,
                )
                frames = {key: np.array(value) for key, value in tree["frames"].items()}
                scene = np.array(tree["scene"]) if "scene" in tree else None
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: cannot be read as the truth of a simulation ({error}); give the truth.asdf that "
                "`refstis simulate` wrote, or its folder"
            ) from error
        return cls(detector, frames, scene, path.parent / "truth")

    def select(self, rootnames: Iterable[str]) -> np.ndarray:
        """Numbers of the frames of some exposures.

        Parameters
        ----------
        rootnames : iterable of str
            Rootnames or names of their files.

        Returns
        -------
        numpy.ndarray
            Indices into `frames`, in the order of the truth.

        Raises
        ------
        InputError
            If an exposure is not of this simulation.
        """
        names = {Path(name).name.split("_")[0].lower() for name in rootnames}
        missing = sorted(names - set(self.frames["rootname"].tolist()))
        if missing:
            raise InputError(f"{', '.join(missing[:5])}: not of this simulation; give the truth beside them")
        return np.flatnonzero(np.isin(self.frames["rootname"], sorted(names)))

    def readout(self, frame: int) -> Readout:
        """How a frame was read."""
        row = {key: self.frames[key][frame] for key in ("amp", "gain", "binaxis1", "binaxis2")}
        size = self.detector.size
        binning = (int(row["binaxis1"]), int(row["binaxis2"]))
        return Readout(str(row["amp"]), int(row["gain"]), binning, size)

    def _trimmed(self, image: np.ndarray, readout: Readout) -> np.ndarray:
        """Sum an image of unbinned frame rows and sensor columns to the pixels that BLEVCORR leaves."""
        xbin, ybin = readout.bins
        rows, columns = readout.trim
        image = image[rows.start * ybin : rows.stop * ybin].astype(np.float64)
        first = columns.start * xbin - readout.offset[0]
        image = image[:, first : first + (columns.stop - columns.start) * xbin]
        ny, nx = rows.stop - rows.start, columns.stop - columns.start
        return image.reshape(ny, ybin, nx, xbin).sum(axis=(1, 3))

    def _on_frame(self, image: np.ndarray, readout: Readout) -> np.ndarray:
        """Put an image of the sensor into unbinned frame rows."""
        out = np.zeros((readout.shape[0] * readout.bins[1], image.shape[1]), dtype=image.dtype)
        out[readout.offset[1] : readout.offset[1] + image.shape[0]] = image
        return out

    def charge(self, frame: int) -> np.ndarray:
        """Expected electrons of a frame, trimmed and binned, without cosmic rays.

        Parameters
        ----------
        frame : int
            Index into `frames`.

        Returns
        -------
        numpy.ndarray
            float64, the shape of a calibrated image.
        """
        readout = self.readout(frame)
        light = self.scene if self.frames["kind"][frame] == "science" else None
        mean = self.detector.mean_charge(
            readout,
            float(self.frames["mjd"][frame]),
            float(self.frames["exptime"][frame]),
            float(self.frames["temperature"][frame]),
            light,
        )
        return self._trimmed(mean, readout)

    def pattern(self, readout: Readout) -> np.ndarray:
        """Fixed structure of trimmed images that is no charge (DN)."""
        return self.detector.pattern(readout)[readout.trim].astype(np.float64)

    def bias(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """The superbias that a perfect calibration of these biases finds.

        Parameters
        ----------
        frames : sequence of int
            Indices into `frames`, all read in one way.

        Returns
        -------
        numpy.ndarray
            Mean of the frames without noise, cosmic rays and overscan level, float64 (DN).
        """
        readout = self.readout(int(frames[0]))
        charge = np.mean([self.charge(int(frame)) for frame in frames], axis=0)
        return self.pattern(readout) + charge / parameters()["detector"]["gain"][readout.gain]

    def dark_rate(self, frames: Sequence[int] | np.ndarray, temperature: float = 18.0) -> np.ndarray:
        """Mean true dark rate at a temperature over some exposures, weighted by exposure time.

        Parameters
        ----------
        frames : sequence of int
            Indices into `frames`, all read in one way.
        temperature : float
            Housing temperature (deg C).

        Returns
        -------
        numpy.ndarray
            float64 (electrons/s), the shape of a calibrated image.
        """
        readout = self.readout(int(frames[0]))
        weights = self.frames["exptime"][frames]
        total = np.zeros(self.detector.sensor)
        for frame, weight in zip(frames, weights, strict=True):
            total += weight * self.detector.dark_rate(float(self.frames["mjd"][frame]), temperature)
        return self._trimmed(self._on_frame(total / weights.sum(), readout), readout)

    def cosmic_rays(self, frame: int) -> np.ndarray:
        """Electrons that cosmic rays left in each pixel of a frame.

        Parameters
        ----------
        frame : int
            Index into `frames`.

        Returns
        -------
        numpy.ndarray
            float64, the shape of a calibrated image; charges below one electron are left out.

        Raises
        ------
        InputError
            If the file of the exposure is not there.
        """
        import asdf

        rootname = str(self.frames["rootname"][frame])
        path = (self.folder or Path()) / f"{rootname}.asdf"
        try:
            with asdf.open(path, memmap=False, lazy_load=False) as document:
                part = int(self.frames["extver"][frame]) - 1
                index, charge = np.array(document["index"][part]), np.array(document["charge"][part])
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error}); it belongs to the truth of {rootname}"
            ) from error
        image = np.zeros(self.detector.sensor)
        image.ravel()[index] = charge
        readout = self.readout(frame)
        return self._trimmed(self._on_frame(image, readout), readout)
