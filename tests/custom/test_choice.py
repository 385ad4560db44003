"""Which darks belong to an exposure, and what is said of those that do not."""

import json

import pytest
from astropy.io import fits

from refstis.custom import make_custom_dark
from refstis.errors import InputError, ReferenceFileError


def used(made, part):
    record = json.loads(made.inputs.read_text())
    return sorted(one["name"] for one in record["inputs"] if part in one["used_for"])


def left_out(made):
    return {one["name"]: one["reason"] for one in json.loads(made.inputs.read_text())["left_out"]}


@pytest.fixture
def make(sky, tmp_path, custom, monkeypatch):
    """Choose, and write down what was chosen; products are those of another run, and no page is drawn."""
    from refstis.custom import making, page

    ready = {"refbias_bia": custom[0].superbias, "basedark": custom[0].basedark, "custom_drk": custom[0].dark}

    def run_nothing(self, pipeline, kind, ending, members, steps=None):
        target = self.folder / f"{self.science.rootname}_{ending}.fits"
        self.folder.mkdir(exist_ok=True)
        target.write_bytes(ready[ending].read_bytes())
        return target

    monkeypatch.setattr(making._Maker, "_run", run_nothing)
    monkeypatch.setattr(page, "write_page", lambda *_, **__: None)

    def run(science=None, **options):
        usual = {
            "darks": sky.folder,
            "anneals": sky.anneals,
            "profile": sky.profile,
            "output": tmp_path / "custom",
        }
        options = usual | options
        return make_custom_dark(science or sky.science, **options)

    return run


@pytest.fixture
def retimed(sky, tmp_path):
    """The science exposure, taken at another time."""

    def copy(mjd, **keywords):
        path = tmp_path / sky.science.name
        path.write_bytes(sky.science.read_bytes())
        with fits.open(path, mode="update") as hdus:
            hdus[0].header.update({"TEXPSTRT": mjd} | keywords)
        return path

    return copy


# ---------------------------------------------------------------------------- period and window


def test_two_days_before_an_anneal_the_window_ends_with_the_period(sky, custom):
    made, _ = custom
    first, _ = sky.months
    assert used(made, "basedark") == sky.darks_between(first.begin, first.end)
    assert used(made, "dark") == sky.darks_between(sky.moment - 3.0, first.end)
    assert "cut at the end of its period" in made.choice.reason
    assert not set(left_out(made)) & set(sky.darks)
    header = fits.getheader(made.dark)
    listed = [line for line in header["HISTORY"] if line.endswith("_raw.fits")]
    assert sorted(listed) == used(made, "dark")


def test_a_window_that_reaches_over_the_anneal_takes_nothing_from_there(sky, make):
    made = make(window=5.0)
    first, second = sky.months
    beyond = sky.darks_between(second.begin, sky.moment + 5.0)
    assert len(beyond) > 2
    assert used(made, "dark") == sky.darks_between(sky.moment - 5.0, first.end)
    assert used(made, "basedark") == sky.darks_between(first.begin, first.end)
    for name in beyond:
        assert (
            left_out(made)[name] == "taken after the anneal of 2017-06-14T09:36:33, which darks never cross"
        )


def test_window_of_ones_own(sky, make):
    made = make(window=1.25)
    assert used(made, "dark") == sky.darks_between(sky.moment - 1.25, sky.moment + 1.25)


def test_just_after_an_anneal_nothing_comes_from_before_it(sky, make, retimed):
    second = sky.months[1]
    made = make(retimed(second.begin + 1.0))
    assert used(made, "dark") == sky.darks_between(second.begin, second.begin + 4.0)
    assert used(made, "basedark") == sky.darks_between(second.begin, second.end)
    assert "cut at the begin of its period" in made.choice.reason


def test_too_few_darks_widen_the_window_within_the_period(sky, make, some, custom):
    near = sky.near
    early = sky.darks_between(sky.months[0].begin, sky.moment - 3.0)
    later = sky.darks_between(sky.months[1].begin, sky.months[1].end)
    folder = some([*near[:2], *early, *later[:6]])
    made = make(darks=folder, superbias=custom[0].superbias)
    assert used(made, "dark") == sorted([*near[:2], *early[-2:]])
    assert "only 2 darks within 3 days" in made.choice.reason
    assert f"widened to {sky.moment - sky.darks[early[-2]]:.2f} days, which hold 4" in made.choice.reason
    assert made.choice.reason in made.cautions


def test_a_period_of_three_darks_uses_them_and_says_so(sky, make, some, custom):
    three = sky.darks_between(sky.moment - 6.0, sky.months[0].end)[:3]
    made = make(darks=some(three), superbias=custom[0].superbias)
    assert used(made, "dark") == three
    assert "all 3 darks of the period: at least 4 are wanted" in made.cautions[0]


def test_one_dark_cannot_be_freed_of_cosmic_rays(sky, make, some, custom):
    one = sky.near[:1]
    with pytest.raises(InputError, match=r"has 1 usable darks of 1 image sets here.*at least 2"):
        make(darks=some(one), superbias=custom[0].superbias)


def test_no_dark_of_the_period(sky, make, some):
    after = sky.darks_between(sky.months[1].begin, sky.moment + 4.0)
    with pytest.raises(InputError, match=r"has 0 usable darks.*after the anneal of 2017-06-14"):
        make(darks=some(after), window=4.0)
    with pytest.raises(InputError, match=r"no dark of its anneal period, 2017-06-05.* is in .*--darks"):
        make(darks=some(after), window=0.5)


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (lambda months: months[0].begin - 0.2, "during the anneal of 2017-06-04.* the CCD was warm"),
        (lambda months: months[0].begin - 5.0, "before the first anneal in .*anneals.csv.*--anneals FILE"),
        (
            lambda months: months[1].end + 60.0,
            "59 days after the last anneal in .*anneals.csv.*--anneals FILE",
        ),
    ],
)
def test_an_exposure_outside_the_table_or_within_an_anneal(sky, make, retimed, shift, message, tmp_path):
    with pytest.raises(InputError, match=message):
        make(retimed(shift(sky.months)))
    assert not (tmp_path / "custom").exists()


def test_shortly_after_the_last_anneal_the_period_is_open_and_a_caution(sky, make, retimed):
    with pytest.raises(InputError, match="no dark of its anneal period"):
        make(retimed(sky.months[1].end + 10.0))


# ---------------------------------------------------------------------------- states


def near_darks(sky):
    return [name.replace("_raw", "_flt") for name in sky.near]


def cte(name):
    return name.replace("_flt", "_cte")


def test_flt_need_no_superbias(sky, make, some, calibrated):
    made = make(darks=some(near_darks(sky), calibrated))
    assert made.choice.state == "bias-subtracted"
    assert made.superbias is None
    assert used(made, "dark") == near_darks(sky)


def test_darks_of_two_cti_states_are_never_mixed(sky, make, some, calibrated, retimed):
    names = near_darks(sky)
    some(names, calibrated)
    folder = some(names[1:], calibrated, cte, PCTECORR="COMPLETE")
    made = make(darks=folder)
    assert used(made, "dark") == names
    assert (
        f"never mixed: {len(names)} bias-subtracted taken, {len(names) - 1} CTI-corrected left out"
        in made.cautions[0]
    )
    assert left_out(made)[cte(names[1])] == (
        f"CTI-corrected, and the dark is made of bias-subtracted ones: the same exposure as {names[1]}"
    )
    corrected = make(retimed(sky.moment, PCTECORR="COMPLETE"), darks=folder)
    assert used(corrected, "dark") == [cte(name) for name in names[1:]]


def test_darks_of_the_other_cti_state_alone_are_used_with_a_caution(sky, make, some, calibrated):
    folder = some(near_darks(sky), calibrated, cte, PCTECORR="COMPLETE")
    made = make(darks=folder)
    assert made.choice.state == "CTI-corrected"
    assert "the darks at hand are corrected for CTI and od9e0z010_raw.fits is not" in made.cautions[0]


def test_a_basedark_in_another_cti_state_is_refused(sky, make, some, calibrated, custom):
    folder = some(near_darks(sky), calibrated, cte, PCTECORR="COMPLETE")
    with pytest.raises(
        ReferenceFileError, match="not corrected for CTI, and the darks are CTI-corrected; these are never"
    ):
        make(darks=folder, basedark=custom[0].basedark)


def test_raw_and_flt_of_the_same_exposures(sky, make, some, calibrated, custom):
    """Without biases the flt are what can be used; with a superbias the raws are what was meant."""
    raws = sky.near
    some(raws)
    folder = some(near_darks(sky), calibrated)
    assert used(make(darks=folder), "dark") == near_darks(sky)
    assert used(make(darks=folder, superbias=custom[0].superbias), "dark") == raws


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"BIASCORR": "OMIT"}, "partly calibrated: BIASCORR is not COMPLETE"),
        ({"CRCORR": "COMPLETE"}, "CRCORR is COMPLETE: a combination"),
        ({"CCDAMP": "C"}, "CCDAMP C, expected D"),
        ({"CCDGAIN": 4}, "CCDGAIN 4, expected 1"),
        ({"TEXPTIME": 60.0}, "a dark of 60 s, expected 1000 to 1200 s"),
        ({"CCDOFFST": 5}, "CCDOFFST 5, most darks have 3"),
    ],
)
def test_darks_that_cannot_be_used_are_left_out_by_name(sky, make, some, calibrated, keywords, reason):
    names = near_darks(sky)
    some(names[1:], calibrated)
    folder = some(names[:1], calibrated, **keywords)
    if "TEXPTIME" in keywords:
        fits.setval(folder / names[0], "EXPTIME", value=60.0, ext=("SCI", 1))
    made = make(darks=folder)
    assert used(made, "dark") == names[1:]
    assert reason in left_out(made)[names[0]]


def test_a_broken_dark_is_left_out_by_name(sky, make, some, calibrated):
    names = near_darks(sky)
    folder = some(names, calibrated)
    broken = folder / names[0]
    broken.write_bytes(broken.read_bytes()[:100_000])
    made = make(darks=folder)
    assert used(made, "dark") == names[1:]
    assert "truncated" in left_out(made)[names[0]]


# ---------------------------------------------------------------------------- superbias


def test_biases_beside_raw_darks_are_those_of_the_period_and_mode(sky, custom):
    made, _ = custom
    first = sky.months[0]
    of_mode = [
        name
        for name, mjd in sky.biases.items()
        if first.begin <= mjd < first.end and fits.getval(sky.folder / name, "CCDGAIN") == 1
    ]
    assert used(made, "superbias") == sorted(of_mode)
    reasons = left_out(made)
    other = next(name for name in sky.biases if fits.getval(sky.folder / name, "CCDGAIN") == 4)
    assert reasons[other] == "superbiases of gain 4, 4x4 are not made: the policy has no such mode"
    record = json.loads(made.inputs.read_text())
    assert "a refbias wants 98" in record["superbias"]["reason"]


def test_raw_darks_without_superbias_and_biases(sky, make, some):
    raws = sky.near
    with pytest.raises(
        ReferenceFileError, match=r"need a superbias.*--superbias FILE.*biases of the same period and mode"
    ):
        make(darks=some(raws))


def test_references_that_are_none(sky, make, custom):
    with pytest.raises(ReferenceFileError, match="FILETYPE is DARK IMAGE; --superbias is a CCD BIAS IMAGE"):
        make(superbias=custom[0].basedark)
    with pytest.raises(ReferenceFileError, match=r"nothere\.fits: no such file, given as --basedark"):
        make(basedark="nothere.fits")


def test_a_basedark_of_another_period_is_a_caution(sky, make, custom, retimed):
    second = sky.months[1]
    made = make(retimed(second.begin + 3.0), basedark=custom[0].basedark, superbias=custom[0].superbias)
    assert any("beyond the anneal period" in one for one in made.cautions)
    assert made.basedark == custom[0].basedark


# ---------------------------------------------------------------------------- the exposure


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"DETECTOR": "FUV-MAMA"}, "is of STIS/FUV-MAMA; a custom dark is made for exposures of STIS/CCD"),
        ({"FILETYPE": "DARK IMAGE"}, "is a reference file"),
        ({"ROOTNAME": ""}, "no ROOTNAME"),
    ],
)
def test_what_is_no_exposure_of_the_ccd(sky, make, retimed, keywords, message):
    with pytest.raises(InputError, match=message):
        make(retimed(sky.moment, **keywords))


def test_a_window_that_is_none(make):
    from refstis.errors import ConfigurationError

    for window in (0.0, -3.0, float("nan"), 1e9):
        with pytest.raises(ConfigurationError, match="--window"):
            make(window=window)
