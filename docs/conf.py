"""Settings of the documentation (`make docs`).

Sphinx, because the reference comes from numpydoc docstrings and the gallery from scripts that run
in the build. Everything is a local file: the pages can be read offline.
"""

from __future__ import annotations

import re
from typing import Any

from vitrina import __version__

project = "vitrina"
author = "the authors of vitrina"
copyright = "2026, the authors of vitrina"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "cyclopts.ext.sphinx",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["examples", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's Parameters tell the types
numpydoc_show_class_members = False
numpydoc_show_inherited_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 600,
}

highlight_language = "none"  # blocks without a language are shell commands or output

html_theme = "furo"
html_title = f"vitrina {__version__}"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sphinx = False
html_show_sourcelink = False

SOURCE = "https://github.com/vitrina-embeddings/vitrina/blob/main/"


def _link_outside(app: Any, document: str, source: list[str]) -> None:
    """Let links to files outside this folder lead to the repository."""
    depth = document.count("/")
    up = "../" * (depth + 1)
    source[0] = re.sub(rf"\]\({re.escape(up)}(?!\.)", f"]({SOURCE}", source[0])


def _is_of_scikit_learn(app: Any, what: str, name: str, *rest: Any) -> bool | None:
    """Leave out the methods of metadata routing that scikit-learn adds to each estimator."""
    return True if re.search(r"\bset_\w+_request$", name) else None


def setup(app: Any) -> None:
    app.connect("source-read", _link_outside)
    app.connect("autodoc-skip-member", _is_of_scikit_learn)
