"""Pipelines of superbiases."""

from __future__ import annotations

import logging
from typing import ClassVar

from refstis.errors import InputError
from refstis.pipelines.base import RefstisPipeline
from refstis.stages import (
    AddHotColumnsStep,
    AverageStep,
    BlendSuperbiasStep,
    BlevCorrStep,
    CleanOverscanStep,
    CrCorrStep,
    DqiCorrStep,
    FlagDefectsStep,
    FlagHotBiasStep,
    NormalizeStep,
    ReferenceHeaderStep,
    ReplaceHotColumnsStep,
    ReplaceHotPixelsStep,
)

__all__ = ["BaseBiasPipeline", "RefBiasPipeline", "WeekBiasPipeline"]

logger = logging.getLogger(__name__)

FRAME_STAGES = ("dqicorr", "blevcorr")


class BaseBiasPipeline(RefstisPipeline):
    """Baseline superbias of a month: files combined alone, averaged, and freed of hot columns and pixels."""

    class_alias = "basebias"
    product_suffix = "basebias"
    exposure_role = "bias"
    step_defs: ClassVar = {
        "clean_overscan": CleanOverscanStep,
        "dqicorr": DqiCorrStep,
        "blevcorr": BlevCorrStep,
        "crcorr": CrCorrStep,
        "average": AverageStep,
        "replace_hot_columns": ReplaceHotColumnsStep,
        "replace_hot_pixels": ReplaceHotPixelsStep,
        "flag_defects": FlagDefectsStep,
        "reference_header": ReferenceHeaderStep,
    }

    def process(self, inputs):
        """Make a baseline superbias.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            The month's biases.

        Returns
        -------
        Exposure
            The superbias (DN).

        Raises
        ------
        InputError
            Where no file holds more than one image set.
        """
        self.reference_header.product = "basebias"
        mean = self.average.run(self._combined(self.clean_overscan.run(list(self.library(inputs)))))
        columns = self.replace_hot_columns.run(mean)
        pixels = self.replace_hot_pixels.run(columns, mean)
        return self.run_each(("flag_defects", "reference_header"), pixels)

    def _combined(self, biases):
        """Each file combined alone, one after the other, so that only one has its pixels in memory."""
        found = False
        for bias in biases:
            if len(bias.imsets) == 1 and not bias.done("CRCORR"):
                logger.warning(
                    "%s: left out, as cosmic rays cannot be found in a single image set.", bias.name
                )
                continue
            found = True
            with bias.held():
                combined = self.run_each((*FRAME_STAGES, "crcorr"), bias)
            yield combined
        if not found:
            raise InputError(
                f"{self.name}: every file holds a single image set; a baseline superbias needs files of at least 2."
            )


class _WeekPipeline(RefstisPipeline):
    """What the superbiases of a week have in common."""

    exposure_role = "bias"

    def combined(self, library):
        """All frames combined.

        Parameters
        ----------
        library : ExposureLibrary
            The week's biases.

        Returns
        -------
        Exposure
            Their sum (DN).
        """
        biases = self.clean_overscan.run(list(library))
        return self.crcorr.run([self._levelled(bias) for bias in biases])

    def _levelled(self, bias):
        with bias.held():
            done = self.run_each(FRAME_STAGES, bias)
            self.crcorr.prepare(done)
        return done


class RefBiasPipeline(_WeekPipeline):
    """Superbias of a week or two: all frames combined, hot pixels flagged."""

    class_alias = "refbias"
    product_suffix = "refbias_bia"
    step_defs: ClassVar = {
        "clean_overscan": CleanOverscanStep,
        "dqicorr": DqiCorrStep,
        "blevcorr": BlevCorrStep,
        "crcorr": CrCorrStep,
        "normalize": NormalizeStep,
        "flag_hot_bias": FlagHotBiasStep,
        "flag_defects": FlagDefectsStep,
        "reference_header": ReferenceHeaderStep,
    }

    def process(self, inputs):
        """Make a superbias.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            The period's biases.

        Returns
        -------
        Exposure
            The superbias (DN).
        """
        self.reference_header.product = "refbias"
        return self.run_each(
            ("normalize", "flag_hot_bias", "flag_defects", "reference_header"),
            self.combined(self.library(inputs)),
        )


class WeekBiasPipeline(_WeekPipeline):
    """Superbias of a week with few biases: the month's baseline with the week's hot columns."""

    class_alias = "weekbias"
    product_suffix = "weekbias_bia"
    step_defs: ClassVar = {
        "clean_overscan": CleanOverscanStep,
        "dqicorr": DqiCorrStep,
        "blevcorr": BlevCorrStep,
        "crcorr": CrCorrStep,
        "normalize": NormalizeStep,
        "add_hot_columns": AddHotColumnsStep,
        "blend_superbias": BlendSuperbiasStep,
        "flag_defects": FlagDefectsStep,
        "reference_header": ReferenceHeaderStep,
    }

    def process(self, inputs):
        """Make a weekly superbias.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            The week's biases and the baseline superbias.

        Returns
        -------
        Exposure
            The superbias (DN).
        """
        self.reference_header.product = "weekbias"
        library = self.library(inputs)
        if self.blend_superbias.override_basebias is None:
            # the two stages stand in for each other
            self.blend_superbias.override_basebias = self.add_hot_columns.override_basebias
        self.add_hot_columns.get_reference(library.exposures[0], "basebias")
        return self.run_each(
            ("normalize", "add_hot_columns", "blend_superbias", "flag_defects", "reference_header"),
            self.combined(library),
        )
