"""A STIS CCD whose true bias, dark rate and hot pixels are known.

`simulate` writes anneal months of raw exposures with reference tables, associations and the truth;
`score` tells how close a product came to it. Nothing is imported before it is used.
"""

import importlib

_NAMES = {
    "Detector": "detector",
    "Frame": "detector",
    "Readout": "readout",
    "Simulation": "month",
    "Truth": "truth",
    "bias_frame": "detector",
    "dark_frame": "detector",
    "compare": "scoring",
    "score": "scoring",
    "simulate": "month",
}

__all__ = [
    "Detector",
    "Frame",
    "Readout",
    "Simulation",
    "Truth",
    "bias_frame",
    "compare",
    "dark_frame",
    "score",
    "simulate",
]


def __getattr__(name):
    if name in _NAMES:
        return getattr(importlib.import_module(f"refstis.simulation.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'refstis.simulation' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_NAMES])
