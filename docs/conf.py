"""The documentation site: `make docs`. Guides are executed while it is built."""

import os
import re
from pathlib import Path

import svdinv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "svdinv"
author = copyright = "The svdinv authors"
release = svdinv.__version__

extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "experiments/**", "figures/**"]
html_theme = "furo"
html_title = "svdinv"
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {"color-brand-primary": "#0b5a8a", "color-brand-content": "#0b5a8a"},
    "dark_css_variables": {"color-brand-primary": "#6fb6e0", "color-brand-content": "#6fb6e0"},
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def functions_of_the_readme(app, docname, source):
    """In the place of `<!-- functions: root -->` those of that part of the README's table."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for part, rows in re.findall(r"\*\*(\w+)\*\*.*\n((?:\| `.*\n)+)", readme):
        cells = "".join(row.split("|")[1] for row in rows.splitlines())
        names = re.findall(r"`(\w+)\(", cells)
        listed = "\n".join(f".. autofunction:: svdinv.{name}" for name in names)
        block = f"```{{eval-rst}}\n.. currentmodule:: svdinv\n\n{listed}\n```"
        source[0] = source[0].replace(f"<!-- functions: {part} -->", block)


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", functions_of_the_readme)
