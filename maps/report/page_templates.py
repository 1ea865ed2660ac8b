"""The one way to fill a page template: escaped by default, strict about missing values, with the project's filters."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from maps.report import tables, typography

TEMPLATES = Path(__file__).parent / "templates"


def page_template(name: str) -> Template:
    """Return a template of the ``templates`` folder with the filters that set numbers, units and names of anchors."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        count=typography.count_text,
        number=typography.number_text,
        signed=typography.signed_text,
        quantity=typography.quantity_text,
        size=typography.bytes_text,
        interval=typography.interval_text,
        unit=typography.unit_text,
        anchor=tables.anchor,
    )
    environment.tests["relative_path"] = _is_relative_path
    environment.globals["zip"] = zip
    return environment.get_template(name)


def inline_image(data: bytes, kind: str = "png") -> Markup:
    """Return a picture as an address that holds its bytes, so that a page needs no second file."""
    return Markup(f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii"))  # noqa: S704 - base64 only


def _is_relative_path(target: str) -> bool:
    return ":" not in target and not target.startswith(("/", "\\"))
