"""What the documentation shows at a shell exists, and what it says was tried runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from refstis.commands.main import registered
from refstis.integration import get_steps

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("[!_]*.md"))]
PAGES += sorted((ROOT / "docs").glob("[!_]*/[!g]*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^(`{3,})(.*)\n((?:.*\n)*?)\1$", re.MULTILINE)
STANDALONE = ("basedark", "basejoint", "refbias", "weekbias", "weekdark")

# Installs as pip does, without asking an index for the build system
PIP = """
pip() {
    test "$1" = install && (cd "$2" && python -m hatchling build -t wheel -d "$SITE") &&
        python -m zipfile -e "$SITE"/*.whl "$SITE"
}
"""


def blocks(page):
    """(language, options, content) of each fenced block of a page."""
    for _, info, content in FENCE.findall(page.read_text(encoding="utf-8")):
        options = dict(re.findall(r"^:(\w+): *(.*)$", content, re.MULTILINE))
        body = re.sub(r"\A(?::\w+:.*\n)+\n?", "", content)
        yield info.replace("{code-block}", "").strip(), options, body


def commands(page):
    """Words of each command in the shell blocks of a page."""
    for language, _, body in blocks(page):
        if language not in {"sh", "console"}:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue  # what the program answered
            words = shlex.split(line.removeprefix("$ "), comments=True)
            for separator in ("&&", "|", ";"):
                while separator in words:
                    at = words.index(separator)
                    yield words[:at]
                    words = words[at + 1 :]
            if words:
                yield words


@pytest.fixture(scope="module")
def cli():
    return typer.main.get_command(registered())


def check_command(command, words):
    """Find fault with a command line that its program does not know."""
    name = []
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {' '.join([*name, words[0]])}"
        name.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in words:
        if re.match(r"-[^\d]", word):
            option = word.partition("=")[0]
            assert option in {*known, "--help"}, f"{' '.join(name)} has no option {option}"


def specs():
    """Parameters by alias and by class of each step, and the steps of the pipelines."""
    import pkgutil

    found = {}
    for path, alias, _ in get_steps():
        step = pkgutil.resolve_name(path)
        found[alias] = found[f"refstis.{step.__name__}"] = step
    return found


def check_step(step, option):
    """Find fault with an option of strun that the step does not have."""
    words = option.removeprefix("--").partition("=")[0].split(".")
    if words[0] == "steps":
        assert words[1] in step.step_defs, f"{step.__name__} has no stage {words[1]}"
        step, words = step.step_defs[words[1]], words[2:]
    assert words[0] in {*step.load_spec_file(), "help", "save-parameters", "debug"}, f"no parameter {option}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(cli, name):
    steps = specs()
    for words in commands(ROOT / name):
        if words[0] == "refstis":
            check_command(cli, words[1:])
        elif words[0] in STANDALONE:
            check_command(cli.commands[words[0]], words[1:])
        elif words[0] == "strun" and words[1] in steps:
            for word in words[2:]:
                if word.startswith("--"):
                    check_step(steps[words[1]], word)


def tried(page):
    """Whether a page has commands that were tried."""
    return any(options.get("class") == "tried" for _, options, _ in blocks(page))


@pytest.mark.parametrize("page", list(filter(tried, PAGES)), ids=lambda page: page.stem)
def test_what_was_tried_runs(page, tmp_path):
    script = []
    for language, options, body in blocks(page):
        if "caption" in options:
            path = tmp_path / options["caption"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(body, encoding="utf-8")
        elif options.get("class") == "tried":
            assert language == "sh"
            script.append(body)
    site = tmp_path / "site"
    site.mkdir()
    environment = {
        **os.environ,
        "SITE": str(site),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", PIP + "\n".join(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("alias", [alias for _, alias, is_pipeline in get_steps() if not is_pipeline])
def test_every_stage_has_a_page_with_a_figure(alias):
    page = (ROOT / "docs" / "stages" / f"{alias}.md").read_text(encoding="utf-8")
    for part in (
        f"```{{refstis-stage}} {alias}",
        f"```{{refstis-figure}} {alias}",
        ":functions:",
        "## Sources",
    ):
        assert part in page
    assert f"\ndef {alias}(world):" in (ROOT / "docs" / "_ext" / "figures.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_pages_outside_the_docs(name):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target
