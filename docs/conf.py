"""How Sphinx builds the site: ``make docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lightning.pytorch import Callback, LightningModule

import lightning_invert
from docs.reference_pages import write_reference

project = "lightning_invert"
author = "The lightning_invert developers"
project_copyright = f"2026, {author}"
version = release = lightning_invert.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lightning_invert {version}"
html_static_path: list[str] = []

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests execute the notebooks; what they show is kept in them

autodoc_typehints = "none"  # the signature has them, and the docstring says what they mean
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


html_theme_options = {"top_of_page_buttons": []}


def skip(app, what, name, member, skipped, options):
    """Leave out what Lightning and torch call: hooks are not for people to call."""
    is_hook = hasattr(Callback, name) or hasattr(LightningModule, name)
    return True if is_hook and name not in ("forward", "load_from_checkpoint") else None


def setup(app):
    """Write the pages that are made of the code before Sphinx looks for pages."""
    app.connect("autodoc-skip-member", skip)
    write_reference(Path(app.srcdir) / "reference")
