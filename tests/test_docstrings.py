"""Every public function, class and method says in numpydoc what goes in and what comes out."""

import importlib
import inspect
import pkgutil
from dataclasses import fields, is_dataclass
from enum import Enum

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import refstis

NOT_ASKED = {
    "ES01",  # an extended summary,
    "EX01",  # an example
    "SA01",  # or a See Also section are welcome where they help
    "GL01",  # ruff puts the summary on the first line (D212)
    "GL02",  # ruff looks after the closing quotes
    "PR08",  # a description may begin with a dtype, a keyword or a unit
    "RT03",  # the summary often says what is returned, and the section its type
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
    """Full names of each module's functions and classes without underscore, in __all__ or not, and of their methods."""
    for module in public_modules():
        for name, thing in vars(module).items():
            if (
                name.startswith("_")
                or not callable(thing)
                or getattr(thing, "__module__", "") != module.__name__
            ):
                continue
            if not hasattr(thing, "__qualname__"):
                continue  # a type alias
            yield f"{module.__name__}.{name}"
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                method = callable(getattr(value, "fget", value))
                # what a base class defines, process() of a step among it, is documented there
                inherited = any(member in vars(base) for base in thing.__mro__[1:])
                if method and not inherited and not member.startswith("_"):
                    yield f"{module.__name__}.{name}.{member}"


def is_annotated(function):
    """Whether all arguments but self, and the result, have a type."""
    _, *arguments = inspect.signature(function).parameters
    return {*arguments, "return"} <= function.__annotations__.keys()


def documented(thing, section):
    """Names in a section of a docstring; `a, b : float` names two."""
    return {name for row in ClassDoc(thing)[section] for name in row.name.replace(",", " ").split()}


def has_own_constructor(thing):
    """Whether a class says itself what it is made of; enumerations and protocols are not made by callers."""
    if issubclass(thing, Enum) or getattr(thing, "_is_protocol", False):
        return False
    return bool({"__init__", "__new__"} & vars(thing).keys())


@pytest.mark.parametrize("name", sorted(set(public_objects())))
def test_docstring_is_complete(name):
    thing = pkgutil.resolve_name(name)
    not_asked = set(NOT_ASKED)
    if inspect.isfunction(thing) and "." in thing.__qualname__ and is_annotated(thing):
        not_asked |= {"PR01", "RT01"}  # a sentence is enough for a method whose signature says the rest
    if inspect.isclass(thing) and not has_own_constructor(thing):
        not_asked.add("PR01")
    if is_dataclass(thing) and {field.name for field in fields(thing)} <= documented(thing, "Attributes"):
        not_asked.add("PR01")
    assert [f"{code} {text}" for code, text in validate(name)["errors"] if code not in not_asked] == []
