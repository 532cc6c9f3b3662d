"""The site of the documentation: `make docs`."""

from pathlib import Path

project = "Intermodal"
author = "The Intermodal authors"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Intermodal"
html_copy_source = False
html_show_sourcelink = False
exclude_patterns = ["conf.py"]
# A link that leads nowhere fails the build (`-W`).
nitpicky = True

_FOLDER = Path(__file__).parent
_ORDER = ["tutorial", "how-to/index", "reference/index", "explanation/index", "troubleshooting", "glossary", "contributing", "changelog"]


def _add_contents(app, name, source):
    """Give each index its table of contents here, for on GitHub the directive would show as text."""
    if name == "index":
        pages = _ORDER
    elif name.endswith("/index"):
        folder = _FOLDER / name.removesuffix("/index")
        pages = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
        pages += sorted(f"{path.parent.name}/index" for path in folder.glob("*/index.md"))
    else:
        return
    source[0] += "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def setup(app):
    app.connect("source-read", _add_contents)
