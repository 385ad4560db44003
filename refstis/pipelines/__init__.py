"""The products: one stpipe Pipeline per product, the order of stages and nothing else."""

from refstis.garbage import collection_paused

with collection_paused():
    from refstis.pipelines.biases import BaseBiasPipeline, RefBiasPipeline, WeekBiasPipeline
    from refstis.pipelines.darks import BaseDarkPipeline, WeekDarkPipeline

__all__ = ["BaseBiasPipeline", "BaseDarkPipeline", "RefBiasPipeline", "WeekBiasPipeline", "WeekDarkPipeline"]
