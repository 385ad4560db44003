"""Configuration of the documentation."""

import logging
import os
import sys
from importlib.metadata import distribution
from pathlib import Path

import numba

import refstis

# compiled functions hide their signatures and docstrings from autodoc; the notebooks' processes still compile them
numba.config.DISABLE_JIT = True
sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# what notebooks call at a shell is what this Python has installed
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.pop("oref", None)
# with a backend of somebody else's choice notebooks would show no figure
os.environ.pop("MPLBACKEND", None)

project = "refstis"
author = copyright = "The refstis developers"
version = release = refstis.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "refstis_docs",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
# A folder may wait for its first page. Sphinx gives this warning no type that suppress_warnings could name.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

myst_enable_extensions = [
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "fieldlist",
    "linkify",
    "substitution",
]
# notebooks are run once and kept until they change; an error in one ends the build
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True

myst_linkify_fuzzy_links = False
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"  # the docstrings state types, shapes and units
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
# astropy's and numpy's names are written as they are imported, and link to nothing when built offline
default_role = "code"

# equations are drawn without a network: one file of MathJax lies beside the pages
_mathjax = distribution("sphinx-mathjax-offline").locate_file(
    "sphinx-mathjax-offline/static/mathjax/tex-svg.js"
)
html_static_path = ["_static", str(_mathjax)]
html_css_files = ["refstis.css"]
mathjax_path = "tex-svg.js"

html_theme = "pydata_sphinx_theme"
html_title = "refstis"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
# pages without pages below them need no navigation at their left
_without_children = ("accuracy", "accuracy-darks", "contributing", "demo", "faults", "index", "migration")
html_sidebars = {page: [] for page in (*_without_children, "performance", "security", "start")}
