"""What a stage says its parameters are, however often it is asked."""

import pytest
from stpipe import Step

from refstis.pipelines import WeekDarkPipeline
from refstis.stages import BlevCorrStep, CrCorrStep


@pytest.mark.parametrize("step_class", [CrCorrStep, BlevCorrStep])
@pytest.mark.parametrize("full_spec", [True, False])
def test_parameters_are_those_that_stpipe_finds(step_class, full_spec):
    step = step_class()
    for _ in range(2):
        assert step.get_pars(full_spec=full_spec) == Step.get_pars(step, full_spec=full_spec)


def test_parameters_follow_the_step():
    step = CrCorrStep(crsigmas=[6.0, 5.0])
    assert step.get_pars()["crsigmas"] == [6.0, 5.0]
    assert "crsigmas" in step.get_pars(full_spec=False)
    assert "output_dir" not in step.get_pars(full_spec=False)
    step.crsigmas = [4.0]
    assert step.get_pars()["crsigmas"] == [4.0]
    step.crsigmas.append(3.0)
    assert step.get_pars()["crsigmas"] == [4.0, 3.0]
    # equal, but not the same to who reads them
    step.crradius = 1.0
    assert repr(step.get_pars()["crradius"]) == "1.0"
    step.override_crrejtab = "mine_crr.fits"
    assert step.get_pars()["override_crrejtab"] == "mine_crr.fits"


def test_who_changes_what_was_given_changes_nothing_else():
    step = CrCorrStep(crsigmas=[6.0, 5.0])
    given = step.get_pars()
    given["crsigmas"].append(1.0)
    given["engine"] = "model"
    assert step.get_pars()["crsigmas"] == [6.0, 5.0]
    assert step.get_pars()["engine"] == "native"


def test_a_pipeline_has_the_parameters_of_its_stages_as_they_are_now():
    pipeline = WeekDarkPipeline()
    before = pipeline.get_pars()["steps"]["crcorr"]
    assert before["threads"] == 0
    pipeline.crcorr.threads = 2
    assert pipeline.get_pars()["steps"]["crcorr"] == {**before, "threads": 2}
