"""Data quality bits of STIS images."""

from enum import IntFlag

__all__ = ["DataQuality"]


class DataQuality(IntFlag):
    """Bits of the DQ extension (STIS Data Handbook, table 2.8)."""

    REED_SOLOMON_ERROR = 1
    LOST_DATA = 2
    DETECTOR_PROBLEM = 4
    OCCULTING_BAR = 8
    HOT_PIXEL = 16
    LARGE_BLEMISH = 32
    OVERSCAN = 128
    SATURATED = 256
    BAD_IN_REFERENCE = 512
    SMALL_BLEMISH = 1024
    COSMIC_RAY = 8192
    NOT_CTI_CORRECTED = 16384
