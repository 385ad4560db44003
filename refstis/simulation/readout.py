"""Where pixels lie in a raw frame: amplifiers, binning, overscan and trimmed area."""

import functools
from dataclasses import dataclass

from refstis.errors import ConfigurationError

__all__ = ["Readout"]

_AMPS = "ABCD"
_CHIP = 1024
_LEADING = 19
_SMALL = (256, 255)


@dataclass(frozen=True)
class Readout:
    """One way to read the CCD.

    The chip has 1024 x 1024 light-sensitive pixels. A raw frame adds physical overscan columns at both
    sides and virtual rows at the side that is read last. A small frame has the layout of a frame
    binned 4x4, and one detector pixel per frame pixel: a sixteenth of the pixels, with the statistics of
    unbinned ones.

    Parameters
    ----------
    amp : str
        Amplifier: A and B are read from the bottom, C and D from the top; A and C from the left.
    gain : int
        CCDGAIN, 1 or 4.
    binning : tuple of int
        BINAXIS1 and BINAXIS2: 1, 2 or 4.
    size : str
        ``full`` or ``small``.

    Examples
    --------
    >>> Readout("D", 1, (1, 1)).shape, Readout("D", 1, (2, 1)).shape
    ((1044, 1062), (1034, 532))
    >>> Readout("D", 1, (2, 1)).ltv
    (10.75, 10.0)
    """

    amp: str = "D"
    gain: int = 1
    binning: tuple[int, int] = (1, 1)
    size: str = "full"

    def __post_init__(self):
        for name, value, allowed in (
            ("amplifier", self.amp, tuple(_AMPS)),
            ("gain", self.gain, (1, 4)),
            ("size", self.size, ("full", "small")),
        ):
            if value not in allowed:
                raise ConfigurationError(
                    f"{name} {value!r} cannot be simulated: give one of {', '.join(map(str, allowed))}"
                )
        if any(value not in (1, 2, 4) for value in self.binning):
            raise ConfigurationError(f"binning {self.binning!r} cannot be simulated: give two of 1, 2 and 4")
        if self.size == "small" and tuple(self.binning) not in ((1, 1), (4, 4)):
            raise ConfigurationError("small frames have the layout of 4x4 binning: leave the binning out")
        object.__setattr__(self, "binning", (4, 4) if self.size == "small" else tuple(self.binning))

    @property
    def mode(self) -> str:
        """Gain and binning, such as ``1 2x1``: the key of the tables in simulation.yaml."""
        return f"{self.gain} {self.binning[0]}x{self.binning[1]}"

    @property
    def from_top(self) -> bool:
        """True where the amplifier is above the top row."""
        return self.amp in "CD"

    @property
    def from_right(self) -> bool:
        """True where the amplifier is to the right of the last column."""
        return self.amp in "BD"

    @property
    def sensor(self) -> tuple[int, int]:
        """Light-sensitive rows and columns."""
        return _SMALL if self.size == "small" else (_CHIP, _CHIP)

    @property
    def bins(self) -> tuple[int, int]:
        """Sensor columns and rows that are summed in a frame pixel."""
        return (1, 1) if self.size == "small" else self.binning

    @property
    def virtual(self) -> int:
        """Number of virtual rows in the frame."""
        return 20 if self.binning == (1, 1) else 10

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the raw frame."""
        xbin, ybin = self.binning
        columns = (1062 if ybin == 1 else 1054) if xbin == 1 else {2: 532, 4: 271}[xbin]
        return _CHIP // ybin + self.virtual, columns

    def _unbinned_offset(self) -> tuple[int, int]:
        xbin, ybin = self.binning
        x = self.shape[1] * xbin - _CHIP - _LEADING if self.from_right else _LEADING
        return x, self.virtual * ybin if self.from_top else 0

    @functools.cached_property
    def offset(self) -> tuple[int, int]:
        """Unbinned columns and rows of the frame before the sensor's first."""
        if self.size == "full":
            return self._unbinned_offset()
        rows, columns = self.trim
        return columns.start, rows.start

    @functools.cached_property
    def trim(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that only see the sensor, as BLEVCORR leaves them."""
        (x, y), (xbin, ybin) = self._unbinned_offset(), self.binning
        left, right = -(-x // xbin), (x + _CHIP) // xbin
        bottom = y // ybin
        return slice(bottom, bottom + _CHIP // ybin), slice(left, right)

    @functools.cached_property
    def section(self) -> slice:
        """Columns of the overscan from which BLEVCORR takes the level of a row."""
        width = 15 if self.binning == (1, 1) else 7
        columns = self.shape[1]
        # The layout table of CALSTIS counts from amplifier A; B and D are its mirror image.
        first = {1: 1046, 2: 524, 4: 263}[self.binning[0]]
        return (
            slice(columns - first - width, columns - first)
            if self.from_right
            else slice(first, first + width)
        )

    @property
    def ltm(self) -> tuple[float, float]:
        """LTM1_1 and LTM2_2."""
        return 1.0 / self.binning[0], 1.0 / self.binning[1]

    @property
    def ltv(self) -> tuple[float, float]:
        """LTV1 and LTV2."""
        x, y = (
            (offset - 0.5) / step + 0.5
            for offset, step in zip(self._unbinned_offset(), self.binning, strict=True)
        )
        return x, y
