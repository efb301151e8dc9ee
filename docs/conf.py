"""The documentation site: Sphinx, MyST and furo over the same Markdown that is read in the repository (`make docs`).

Contract: one source. The pages are the repository's own (the source directory is the root of the repository, so that links
between pages lead to the same places there and here); the order of the sidebar is the order of the map in
`docs/README.md`; commands and settings are those of the program; the reference is the docstrings. Nothing is fetched: no
other project's inventory, no font, no script; formulas become MathML. A warning is an error.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import sparring  # noqa: E402  (found through the line above)

project, author, copyright = "Sparring", "The Sparring authors", "The Sparring authors, Apache-2.0"
version = release = sparring.__version__

root_doc = "README"
smartquotes = False
include_patterns = [
    "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/*.md", "benchmarks/results/*.md",
    "src/sparring/worlds/tiny_chain_policy/README.md",
]  # fmt: skip
exclude_patterns = [".*", "build", "runs", "models", "tests"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "site_parts"]
if tags.has("reduced"):  # noqa: F821  (Sphinx puts it here.)  What the tests build; CI makes the whole besides.
    extensions.remove("sphinx.ext.viewcode")

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]  # ```math, as GitHub reads it
myst_heading_anchors = 4  # the anchors that GitHub makes

napoleon_use_ivar = True
default_role = "code"  # `name` in a docstring is code, as in Markdown
add_module_names = False
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
EXTRAS = (
    "fastapi",
    "uvicorn",
    "prometheus_client",
    "trl",
    "verl",
    "areal",
    "inspect_ai",
    "lm_eval",
    "its_hub",
    "pandas",
)
autodoc_mock_imports = [name for name in EXTRAS if find_spec(name) is None]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
suppress_warnings = ["ref.python"]  # two modules may have a class of one name
nitpick_ignore_regex = [
    ("py:.*", ".*")
]  # types of other packages are named, not linked; pages and anchors are checked

html_theme = "furo"
html_title = f"Sparring {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "native"
