"""Every public function, class and method says in numpydoc what goes in and what comes out."""

import importlib
import inspect
import pkgutil

import pytest
from numpydoc.validate import validate

import refstis

NOT_ASKED = {
    "ES01",  # an extended summary,
    "EX01",  # an example
    "SA01",  # or a See Also section are welcome where they help
    "GL01",  # ruff puts the summary on the first line (D212)
    "GL02",  # ruff looks after the closing quotes
    "PR08",  # a description may begin with a dtype, a keyword or a unit
    "RT04",
    "SS05",  # "Flags of a bad pixel table." is no verb in the third person
    "YD01",  # the Returns section of a generator function may say what it yields
}


def public_modules():
    """All modules but the commands, whose docstrings are their help texts."""
    for found in pkgutil.walk_packages(refstis.__path__, "refstis."):
        if not found.name.startswith("refstis.commands"):
            yield importlib.import_module(found.name)


def public_objects():
    """Full names of the functions and classes in each module's __all__, and of the classes' own methods."""
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not callable(thing) or thing.__module__ != module.__name__:
                continue
            yield f"{module.__name__}.{name}"
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                method = callable(getattr(value, "fget", value))
                # process() is stpipe's: the docstring of a step is that of its class
                if method and member != "process" and not member.startswith("_"):
                    yield f"{module.__name__}.{name}.{member}"


@pytest.mark.parametrize("name", sorted(set(public_objects())))
def test_docstring_is_complete(name):
    thing = pkgutil.resolve_name(name)
    # the parameters of an inherited constructor are documented where it is defined
    inherits = inspect.isclass(thing) and not {"__init__", "__new__"} & vars(thing).keys()
    not_asked = NOT_ASKED | {"PR01"} if inherits else NOT_ASKED
    assert [f"{code} {text}" for code, text in validate(name)["errors"] if code not in not_asked] == []
