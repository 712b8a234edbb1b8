"""The files that pages are made from: templates, and the one style sheet of all."""

from importlib import resources

import jinja2
from markupsafe import Markup

LONG_TABLE = 14  # rows above which a table scrolls inside the page


def template(name: str) -> jinja2.Template:
    """One of our pages, whose foreign text is escaped and whose every name must be given."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(_packaged(name))


def style_sheet() -> Markup:
    """The style sheet, to stand inside a page."""
    return Markup(_packaged("page.css"))  # noqa: S704 - our own file


def _packaged(name: str) -> str:
    return resources.files("reports").joinpath(name).read_text(encoding="utf-8")
