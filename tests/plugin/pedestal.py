"""A package of somebody else: one step for stpipe, and one engine for the stage crcorr."""

import numpy as np

from refstis.calibration.crcorr import Combination
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep

__all__ = ["PedestalStep", "get_steps", "sum_of_images"]


class PedestalStep(RefstisStep):
    """Add a constant to every pixel."""

    class_alias = "pedestal"

    spec = """
    level = float(default=1.0)  # What to add (DN)
    """

    def process(self, exposure):
        """Add the constant."""
        exposure = self.open(exposure)

        def add(imset):
            sci, level = imset.sci, np.float32(self.level)
            return imset.with_pixels(
                sci=Pixels(sci.shape, np.float32, lambda rows, columns: sci[rows, columns] + level)
            )

        words = f"A pedestal of {self.level:g} DN was added."
        return exposure.map_imsets(add).changed(history=[words], procedure=words)


def get_steps():
    """List the steps for the entry point ``stpipe.steps``."""
    return [("pedestal.PedestalStep", "pedestal", False)]


def sum_of_images(images, parameters, threads=0):
    """Combine images without rejecting anything: an engine for the group ``refstis.crcorr_engines``."""
    total = sum(np.asarray(image.sci[:], dtype=np.float32) for image in images)
    ny, nx = total.shape
    return Combination(
        sci=total,
        err=np.ones_like(total),
        dq=np.zeros((ny, nx), dtype=np.int16),
        sky=np.zeros(len(images), dtype=np.float32),
        exptime=np.float32(sum(image.exptime for image in images)),
        rejected_count=0,
        rejected_bits=np.zeros((len(images), ny, (nx + 7) // 8), dtype=np.uint8),
    )
