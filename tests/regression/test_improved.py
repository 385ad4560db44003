"""The profile `improved` on the same exposures: other pixels than the heritage's, and no further off than the noise."""

import numpy as np
import pytest
from astropy.io import fits

import refstis
from refstis.datamodels import config_path

PROFILES = {"heritage": "", "improved": "improved/"}


@pytest.fixture
def make(oracle, oref, tmp_path):
    """Superbias and superdark of the expected outputs' raws, in electrons and electrons per second."""

    def one(profile, pipeline, inputs, **steps):
        target = tmp_path / f"{profile}_{pipeline.class_alias}.fits"
        pipeline.call(
            [str(path) for path in inputs],
            config_file=str(config_path(f"{PROFILES[profile]}{pipeline.class_alias}.asdf")),
            output_file=str(target),
            configure_log=False,
            steps=steps,
        )
        return target

    def both(profile):
        superbias = one(profile, refstis.RefBiasPipeline, oracle.raws("r_refbias_wk01"))
        darks = [oracle.raw(f"ofd103a{letter}q_raw.fits") for letter in "abcdefgh"]
        subtraction = {"biascorr": {"override_biasfile": str(superbias)}}
        return superbias, one(profile, refstis.BaseDarkPipeline, darks, **subtraction)

    return both


def planes(path):
    with fits.open(path, memmap=False) as hdus:
        return tuple(np.asarray(hdus[name, 1].data, dtype=np.float64) for name in ("SCI", "ERR", "DQ"))


def test_products_of_the_profile_are_whole_and_near_those_of_the_heritage(make):
    for before, after in zip(make("heritage"), make("improved"), strict=True):
        (old, old_err, old_dq), (new, new_err, new_dq) = planes(before), planes(after)
        assert np.isfinite(new).all()
        # the heritage has pixels without any uncertainty
        assert (new_err > 0).all()
        # what neither flags is made of the same exposures
        ordinary = (old_dq == 0) & (new_dq == 0) & (old_err > 0)
        assert ordinary.mean() > 0.7
        pulls = ((new - old) / np.hypot(new_err, old_err))[ordinary]
        assert abs(np.median(pulls)) < 0.5
        assert np.percentile(np.abs(pulls), 99) < 2.0
        # it is not the heritage under another name
        assert (new != old).mean() > 0.5
