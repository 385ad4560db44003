"""What stpipe finds: every step and pipeline, and a parameter file for each that is its spec's defaults."""

import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points

import asdf
import pytest
from stpipe import Pipeline, Step

import refstis
from refstis import pipelines, stages
from refstis.datamodels import config_path
from refstis.integration import get_steps
from refstis.pipelines.base import RefstisPipeline
from refstis.stages.base import RefstisStep

LISTED = get_steps()
CLASSES = {
    name.rpartition(".")[2]: getattr(
        importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]
    )
    for name, _, _ in LISTED
}
ALIASES = {alias: CLASSES[name.rpartition(".")[2]] for name, alias, _ in LISTED}
FILES = sorted(config_path().glob("*.asdf"))
PROFILE_FILES = sorted(config_path().glob("*/*.asdf"))


def defined_classes():
    """Every Step and Pipeline that a module of stages or pipelines defines, but their bases."""
    found = set()
    for package in (stages, pipelines):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, made in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if (
                    issubclass(made, Step)
                    and made.__module__ == module.name
                    and made.class_alias
                    and not name.startswith("_")
                ):
                    found.add(made)
    return found - {RefstisStep, RefstisPipeline}


def test_list_and_classes_agree():
    assert set(CLASSES.values()) == defined_classes()
    for name, alias, is_pipeline in LISTED:
        made = CLASSES[name.rpartition(".")[2]]
        assert made.class_alias == alias
        assert issubclass(made, Pipeline) is is_pipeline
        assert issubclass(made, RefstisStep)
        # the name that it is listed under is public
        package, _, short = name.rpartition(".")
        assert short in importlib.import_module(package).__all__
        assert getattr(refstis, short) is made
    assert len({alias for _, alias, _ in LISTED}) == len(LISTED)
    assert {name.rpartition(".")[2] for name, _, _ in LISTED} == set(stages.__all__) | set(pipelines.__all__)


def test_the_entry_point_gives_the_list():
    (point,) = [p for p in entry_points(group="stpipe.steps") if p.name == "refstis"]
    assert point.load()() == LISTED


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_what_a_stage_says_of_itself(name):
    made = CLASSES[name]
    assert inspect.getdoc(made)
    assert made.process.__doc__
    assert made.process is not Step.process
    # every parameter has a comment that says what it is
    spec = made.load_spec_file()
    for parameter in spec.scalars:
        if parameter in Step.load_spec_file().scalars or parameter.startswith("override_"):
            continue
        assert spec.inline_comments[parameter], f"{name}.{parameter} has no comment"


# -------------------------------------------------------------- parameter files


def test_every_class_has_a_parameter_file():
    assert {path.stem for path in FILES} == set(ALIASES)


def own_parameters(made):
    """Parameters with their defaults, less what every step has and what names reference files."""
    instance = made()
    common = {*Step.load_spec_file().scalars, "crds", "output_ext", "save_results"}
    if instance.skip:
        # whether it runs is a choice that its parameter file shows
        common.remove("skip")
    names = [
        key for key in made.load_spec_file().scalars if key not in common and not key.startswith("override_")
    ]
    return {name: getattr(instance, name) for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parameters_of_a_file_are_the_defaults(path):
    step = Step.from_config_file(str(path))
    made = ALIASES[path.stem]
    assert type(step) is made
    assert step.name == path.stem
    with asdf.open(path) as file:
        tree = file.tree
        assert tree["class"] in {name for name, _, _ in LISTED}
        assert dict(tree["parameters"]) == own_parameters(made)
        listed = {entry["name"]: entry for entry in tree.get("steps", [])}
    if not issubclass(made, Pipeline):
        assert not listed
        return
    assert list(listed) == list(made.step_defs)
    for name, entry in listed.items():
        stage = made.step_defs[name]
        assert entry["class"].rpartition(".")[2] == stage.__name__
        expected = own_parameters(stage)
        if "product" in expected:
            # the kind of product is the pipeline's
            expected["product"] = path.stem
        assert dict(entry["parameters"]) == expected
        found = getattr(step, name)
        assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize("path", PROFILE_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_parameters_of_a_profile_are_those_of_its_stages(path):
    step = Step.from_config_file(str(path))
    made = ALIASES[path.stem]
    assert type(step) is made
    with asdf.open(path) as file:
        listed = {entry["name"]: entry for entry in file.tree["steps"]}
        assert dict(file.tree["parameters"]) == own_parameters(made)
    # all stages in their order, each with all its parameters, so that the file says what is done
    assert list(listed) == list(made.step_defs)
    for name, entry in listed.items():
        known = made.step_defs[name]
        assert entry["class"].rpartition(".")[2] == known.__name__
        assert set(entry["parameters"]) - {"skip"} == set(own_parameters(known)) - {"skip"}
        found = getattr(step, name)
        assert {key: getattr(found, key) for key in entry["parameters"]} == dict(entry["parameters"])


def test_a_profile_has_a_file_for_every_pipeline():
    assert {path.stem for path in PROFILE_FILES} == {alias for _, alias, pipeline in LISTED if pipeline}


@pytest.mark.parametrize("name", sorted(pipelines.__all__))
def test_a_pipeline_consists_of_our_stages(name):
    made = CLASSES[name]
    for alias, stage in made.step_defs.items():
        assert ALIASES[alias] is stage
    assert list(made.step_defs)[-1] == "reference_header"


def test_parameter_references_are_not_asked_for(monkeypatch):
    import crds

    def asked(*args, **kwargs):
        pytest.fail("asks CRDS")

    monkeypatch.setattr(crds, "getreferences", asked)
    monkeypatch.setattr(crds, "get_context_name", asked)
    for made in CLASSES.values():
        assert made.prefetch_references is False
        config = made.get_config_from_reference("nothing")
        assert not config.scalars
        assert not any(config.get("steps", {}))
