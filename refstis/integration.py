"""What stpipe finds through the entry point `stpipe.steps`: every step and pipeline, its alias, and which it is."""

__all__ = ["get_steps"]


def get_steps():
    """List the steps and pipelines of refstis.

    Returns
    -------
    list of tuple
        Fully qualified class name, alias, and whether it is a pipeline.
    """
    return [
        ("refstis.pipelines.BaseBiasPipeline", "basebias", True),
        ("refstis.pipelines.BaseDarkPipeline", "basedark", True),
        ("refstis.pipelines.RefBiasPipeline", "refbias", True),
        ("refstis.pipelines.WeekBiasPipeline", "weekbias", True),
        ("refstis.pipelines.WeekDarkPipeline", "weekdark", True),
        ("refstis.stages.AddHotColumnsStep", "add_hot_columns", False),
        ("refstis.stages.AverageStep", "average", False),
        ("refstis.stages.BiasCorrStep", "biascorr", False),
        ("refstis.stages.BlendBaselineStep", "blend_baseline", False),
        ("refstis.stages.BlendSuperbiasStep", "blend_superbias", False),
        ("refstis.stages.BlevCorrStep", "blevcorr", False),
        ("refstis.stages.CleanOverscanStep", "clean_overscan", False),
        ("refstis.stages.CrCorrStep", "crcorr", False),
        ("refstis.stages.DailyStep", "daily", False),
        ("refstis.stages.DarkCorrStep", "darkcorr", False),
        ("refstis.stages.DqiCorrStep", "dqicorr", False),
        ("refstis.stages.FitRatesStep", "fit_rates", False),
        ("refstis.stages.FlagDefectsStep", "flag_defects", False),
        ("refstis.stages.FlagHotBiasStep", "flag_hot_bias", False),
        ("refstis.stages.FlagHotDarkStep", "flag_hot_dark", False),
        ("refstis.stages.FlagHotRatesStep", "flag_hot_rates", False),
        ("refstis.stages.NormalizeStep", "normalize", False),
        ("refstis.stages.RefaverStep", "refaver", False),
        ("refstis.stages.ReferenceHeaderStep", "reference_header", False),
        ("refstis.stages.ReplaceHotColumnsStep", "replace_hot_columns", False),
        ("refstis.stages.ReplaceHotPixelsStep", "replace_hot_pixels", False),
        ("refstis.stages.StatFlagStep", "statflag", False),
        ("refstis.stages.SuperdarkStep", "superdark", False),
        ("refstis.stages.TempCorrStep", "tempcorr", False),
    ]
