"""Directives that write pages from the code: commands, stages, parameters, figures, DQ bits, modules.

Each shows what the installed package has, and nothing where a part of it does not exist, so that the
documentation of every commit can be built.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import typer
from docutils.parsers.rst import directives
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from typer.testing import CliRunner

import refstis


def exists(module):
    return importlib.util.find_spec(module) is not None


def cell(text):
    """Text of a table cell: one line, with its bars escaped."""
    return " ".join(str(text).split()).replace("|", r"\|")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def steps():
    """(class, alias, is pipeline) of everything that refstis registers with stpipe."""
    if not exists("refstis.integration"):
        return []
    found = []
    for path, alias, is_pipeline in importlib.import_module("refstis.integration").get_steps():
        found.append((pkgutil.resolve_name(path), alias, is_pipeline))
    return found


def parameters(step):
    """Rows of a table of a step's own parameters, from its specification without those of its base classes."""
    inherited = set()
    for base in step.__mro__[1:]:
        inherited.update(base.load_spec_file() or () if "spec" in vars(base) else ())
    spec = step.load_spec_file()
    for name in spec.scalars:
        if name in inherited:
            continue
        kind, _, rest = spec[name].partition("(")
        limits, _, default = rest.rpartition(")")[0].rpartition("default=")
        limits = limits.rstrip(", ")
        kind = "file" if kind == "is_string_or_datamodel" else kind
        default = default.removeprefix("list(").rstrip(")")
        comment = (spec.inline_comments[name] or "").lstrip("# ")
        yield (
            f"`{name}`",
            kind + (f", {limits}" if limits else ""),
            f"`{default}`" if default else "required",
            comment,
        )


class Generated(SphinxDirective):
    """Base of the directives below: Markdown from the code, parsed where the directive stands."""

    def run(self):
        return self.parse_text_to_nodes("\n\n".join(self.parts()), allow_section_headings=True)


class Stages(Generated):
    """Tables of parameters: of all stages, of what they have in common, of all pipelines, or of the named one."""

    required_arguments = 1

    def parts(self):
        wanted = self.arguments[0]
        if wanted == "common" and exists("refstis.stages.base"):
            yield self.table_of(pkgutil.resolve_name("refstis.stages.base:RefstisStep"))
        for step, alias, is_pipeline in steps():
            if wanted == alias:
                yield self.table_of(step)
            elif wanted == ("pipelines" if is_pipeline else "stages"):
                yield f"## {alias}"
                yield f"`refstis.{step.__name__}`: {inspect.getdoc(step).splitlines()[0]}"
                if (Path(self.env.srcdir) / "stages" / f"{alias}.md").exists():
                    yield f"Equations, a figure and sources: [its page](../stages/{alias}.md)."
                yield f"Stages: {', '.join(f'`{name}`' for name in step.step_defs)}" if is_pipeline else ""
                yield "" if is_pipeline else self.table_of(step)

    def table_of(self, step):
        rows = list(parameters(step))
        return (
            table(["parameter", "kind", "default", "what it is"], rows)
            if rows
            else "No parameters of its own."
        )


class Stage(Generated):
    """What a stage is and where it runs; with `:functions:`, its parameters and the functions behind it instead."""

    required_arguments = 1
    option_spec = {"functions": directives.unchanged_required}  # noqa: RUF012 - docutils wants a dict

    def parts(self):
        alias = self.arguments[0]
        found = {name: step for step, name, _ in steps()}
        if alias not in found:
            raise self.error(f"no stage is called {alias!r}")
        step = found[alias]
        if "functions" in self.options:
            yield from self.details(alias, self.options["functions"].split())
            return
        inside = [
            f"`{name}`" for other, name, is_pipeline in steps() if is_pipeline and alias in other.step_defs
        ]
        yield "\n\n".join(inspect.getdoc(step).split("\n\n"))
        rows = [
            ("Step", f"`refstis.{step.__name__}`, at a shell `strun {alias}`"),
            ("Runs in", ", ".join(inside) or "no pipeline; on its own"),
            ("Reference files", ", ".join(f"`{kind}`" for kind in step.reference_file_types) or "none"),
            ("Parameter file", f"`refstis config path {alias}`"),
        ]
        yield "\n".join(f":{name}: {text}" for name, text in rows)

    def details(self, alias, functions):
        yield "## Parameters"
        yield f"```{{refstis-stages}} {alias}\n```"
        yield "## Functions"
        for name in functions:
            kind = "module" if inspect.ismodule(pkgutil.resolve_name(f"refstis.{name}")) else "function"
            yield f"```{{eval-rst}}\n.. auto{kind}:: refstis.{name}\n   :no-index:\n```"


class Figure(Generated):
    """The figure of a stage, with the directive's content as its caption."""

    required_arguments = 1
    has_content = True

    def parts(self):
        name = self.arguments[0]
        path = Path(self.env.srcdir) / FIGURES / f"{name}.png"
        if not path.exists():
            raise self.error(f"figures.py draws no figure {name!r}")
        caption = "\n".join(self.content)
        above = "../" * self.env.docname.count("/")
        yield f"```{{figure}} {above}{FIGURES}/{name}.png\n:alt: {cell(caption)}\n:width: 100%\n\n{caption}\n```"


FIGURES = "_build/figures"


def draw_figures(app):
    """Draw the figures, and forget what the notebooks printed, where refstis has changed since the last time."""
    script = Path(__file__).with_name("figures.py")
    sources = [script, *sorted(Path(refstis.__file__).parent.rglob("*.py"))]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    folder = Path(app.srcdir) / FIGURES
    mark = folder / "made-of"
    if mark.exists() and mark.read_text() == digest:
        return
    # what notebooks printed was of the old code as well
    shutil.rmtree(app.config.nb_execution_cache_path, ignore_errors=True)
    logging.getLogger(__name__).info("drawing the figures of the stages")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "figures"
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(script), str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ExtensionError(f"figures.py failed:\n{done.stderr[-4000:]}")
        (made / "made-of").write_text(digest)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)


class Commands(Generated):
    """What --help prints for every command."""

    def parts(self):
        from refstis.commands.main import registered

        app = registered()
        runner = CliRunner()
        for names in leaves(typer.main.get_command(app)):
            arguments = [*names, "--help"]
            done = runner.invoke(app, arguments, prog_name="refstis", env={"COLUMNS": "96", "TERM": "dumb"})
            yield f"## refstis {' '.join(names)}".rstrip()
            yield f"```text\n{done.output.strip()}\n```"


def leaves(command, names=()):
    """Names of a command, or of each command of a group, and of the group itself where it is the root."""
    commands = getattr(command, "commands", {})
    if not names or not commands:
        yield names
    for name in sorted(commands):
        yield from leaves(commands[name], (*names, name))


class QualityBits(Generated):
    """The DQ bits by value."""

    def parts(self):
        if exists("refstis.datamodels.dq"):
            from refstis.datamodels.dq import DataQuality

            rows = [(bit.value, f"`{bit.name}`", bit.name.replace("_", " ").lower()) for bit in DataQuality]
            yield table(["value", "name", "meaning"], rows)


class Configuration(Generated):
    """The shipped YAML files, with the comments that explain them."""

    def parts(self):
        from refstis.datamodels import config_path

        for path in sorted(config_path().glob("*.yaml")):
            yield f"## {path.name}"
            yield f"```yaml\n{path.read_text().rstrip()}\n```"


class Modules(Generated):
    """The pages that `write_api_pages` writes, with the first line of each module's docstring."""

    def parts(self):
        pages = sorted((Path(self.env.srcdir) / "reference" / "generated").glob("*.md"))
        yield table(
            ["module", "what it is"],
            [
                (
                    f"[refstis.{page.stem}](generated/{page.name})",
                    inspect.getdoc(importlib.import_module(f"refstis.{page.stem}")).splitlines()[0],
                )
                for page in pages
            ],
        )


def write_api_pages(app):
    """One page for each room of the package, with all that its modules offer in __all__."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    pages = {}
    for found in pkgutil.walk_packages(refstis.__path__, "refstis."):
        room = found.name.split(".")[1]
        if room == "commands":
            continue
        module = importlib.import_module(found.name)
        if getattr(module, "__all__", None):
            pages.setdefault(room, []).append(found.name)
    for room, names in pages.items():
        text = f"# refstis.{room}\n\n"
        for name in names:
            text += f"## {name}\n\n" if name != f"refstis.{room}" else ""
            text += (
                f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :member-order: bysource\n```\n\n"
            )
        page = folder / f"{room}.md"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
    for page in folder.glob("*.md"):
        if page.stem not in pages:
            page.unlink()


def mark_sections(_app, what, _name, _obj, _options, lines):
    """Make rubrics of the sections of module docstrings, which numpydoc leaves to be titles of the page."""
    if what == "module":
        for number in range(len(lines) - 1, 0, -1):
            if lines[number] and set(lines[number]) == {"-"} and lines[number - 1]:
                lines[number - 1 : number + 1] = [f".. rubric:: {lines[number - 1]}", ""]


def setup(app):
    app.add_directive("refstis-stages", Stages)
    app.add_directive("refstis-stage", Stage)
    app.add_directive("refstis-figure", Figure)
    app.add_directive("refstis-commands", Commands)
    app.add_directive("refstis-dq", QualityBits)
    app.add_directive("refstis-configuration", Configuration)
    app.add_directive("refstis-modules", Modules)
    app.connect("autodoc-process-docstring", mark_sections)
    app.connect("builder-inited", write_api_pages)
    app.connect("builder-inited", draw_figures)
    return {"parallel_read_safe": True}
