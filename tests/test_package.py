"""What is installed: how little an import costs, what the wheel holds, which version it says it is."""

import ast
import os
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import refstis
from refstis.datamodels import config_path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "asdf", "astropy", "astroquery", "crds", "dask", "distributed", "jinja2", "matplotlib", "numba", "numpy",
    "pydantic", "scipy", "sqlalchemy", "stistools", "stpipe", "yaml",
}  # fmt: skip


def python(*arguments, cwd=None):
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy_modules_after(code):
    loaded = python("-c", f"import sys\n{code}\nprint('loaded:', *sys.modules)").rpartition("loaded:")[2]
    return HEAVY & {name.partition(".")[0] for name in loaded.split()}


def test_import_is_cheap():
    assert heavy_modules_after("import refstis; refstis.__version__; dir(refstis)") == set()


def test_help_is_cheap():
    code = "sys.argv = ['refstis', '--help']\ntry: refstis.commands.main.main()\nexcept SystemExit: pass"
    assert heavy_modules_after(f"import refstis.commands.main\n{code}") == set()


@pytest.mark.parametrize(
    "name", [m.name for m in pkgutil.iter_modules(refstis.__path__) if m.name != "__main__"]
)
def test_every_module_is_an_attribute_of_the_package(name):
    assert python("-c", f"import refstis; print(refstis.{name}.__name__)").strip() == f"refstis.{name}"
    assert name in dir(refstis)


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'weekflat'"):
        _ = refstis.weekflat


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_calibration_imports_arrays_only():
    # the contracts in pyproject.toml see whole distributions; of astropy, only the statistics are pixels
    ours = ("numpy", "scipy", "numba", "astropy.stats", "refstis.calibration", "refstis.cores")
    foreign = {
        (path.name, name)
        for path in (ROOT / "refstis" / "calibration").rglob("*.py")
        for name in imported_modules(path)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not f"{name}.".startswith(tuple(f"{o}." for o in ours))
    }
    assert foreign == set()


@pytest.mark.parametrize("group", ["console_scripts", "refstis.crcorr_engines", "stpipe.steps"])
def test_entry_points_load(group):
    ours = [point for point in entry_points(group=group) if point.value.startswith("refstis.")]
    assert ours
    for point in ours:
        assert callable(point.load())


def test_configuration_is_found():
    assert config_path().is_dir()


# ------------------------------------------------------------------ distributions


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the checkout as committed, without tags."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("clone") / "refstis"
    subprocess.run(["git", "clone", "--quiet", "--no-tags", f"file://{ROOT}", folder], check=True)
    return folder


def hatchling(*arguments, cwd):
    return python("-m", "hatchling", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    hatchling("build", "--target", "wheel", "--directory", folder, cwd=clone)
    return next(folder.glob("*.whl"))


def test_wheel_holds_package_and_configuration_only(wheel, clone):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {"refstis", "refstis-1.0.0.dev0.dist-info"}
    shipped = {
        str(path.relative_to(clone))
        for folder in ("refstis", "config")
        for path in (clone / folder).rglob("*")
        if path.is_file()
    }
    expected = {f"refstis/{name}" if name.startswith("config/") else name for name in shipped}
    assert {name for name in names if name.startswith("refstis/")} == expected


def test_wheel_from_sdist_is_the_wheel_from_the_checkout(wheel, clone, tmp_path):
    hatchling("build", "--target", "sdist", "--directory", tmp_path, cwd=clone)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "refstis-1.0.0.dev0"
    hatchling("build", "--target", "wheel", "--directory", tmp_path, cwd=unpacked)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_version_is_that_of_the_tag(clone, tmp_path):
    tagged = tmp_path / "tagged"
    shutil.copytree(clone, tagged)

    def git(*arguments):
        identity = {
            f"GIT_{who}_{what}": "refstis" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        subprocess.run(
            ["git", *arguments], cwd=tagged, check=True, capture_output=True, env=os.environ | identity
        )

    assert hatchling("version", cwd=tagged).strip() == "1.0.0.dev0"
    git("tag", "v1.2.0")
    assert hatchling("version", cwd=tagged).strip() == "1.2.0"
    git("commit", "--allow-empty", "--message", "one more")
    assert hatchling("version", cwd=tagged).strip() == "1.2.1.dev1"
    shutil.rmtree(tagged / ".git")
    assert hatchling("version", cwd=tagged).strip() == "1.0.0.dev0"
