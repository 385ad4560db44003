"""Configuration of the documentation."""

import logging
import os
import sys
from pathlib import Path

# compiled functions hide their signatures and docstrings from autodoc
os.environ["NUMBA_DISABLE_JIT"] = "1"
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import refstis

project = "refstis"
author = copyright = "The refstis developers"
version = release = refstis.__version__

extensions = [
    "myst_parser",
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

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "linkify", "substitution"]
myst_linkify_fuzzy_links = False
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"  # the docstrings state types, shapes and units
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
# astropy's and numpy's names are written as they are imported, and link to nothing when built offline
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "refstis"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
# pages without pages below them need no navigation at their left
html_sidebars = {page: [] for page in ("accuracy", "contributing", "demo", "migration", "start")}
