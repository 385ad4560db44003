"""Superbiases and superdarks for the STIS CCD on board the Hubble Space Telescope.

``import refstis`` is cheap: submodules, pipelines and stages are imported when they are first used, so
``refstis.basedark.make_basedark`` and ``refstis.WeekDarkPipeline`` work without further imports.
"""

import importlib
from importlib.metadata import version

__version__ = version("refstis")

_SUBMODULES = {
    "anneal", "basedark", "basejoint", "calibration", "commands", "cores", "custom", "datamodels", "delivery", "demo",
    "errors", "functions", "garbage", "integration", "pipeline", "pipelines", "pop_db", "refbias", "retrieval",
    "simulation", "stages", "weekbias", "weekdark",
}  # fmt: skip
_PIPELINES = {
    "BaseBiasPipeline", "BaseDarkPipeline", "RefBiasPipeline", "WeekBiasPipeline", "WeekDarkPipeline",
}  # fmt: skip


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"refstis.{name}")
    if name in _PIPELINES:
        return getattr(importlib.import_module("refstis.pipelines"), name)
    if name.endswith("Step"):
        return getattr(importlib.import_module("refstis.stages"), name)
    if name == "make_custom_dark":
        return importlib.import_module("refstis.custom").make_custom_dark
    raise AttributeError(f"module 'refstis' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_SUBMODULES, *_PIPELINES, "make_custom_dark"])
