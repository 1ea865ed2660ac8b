"""Whether a photo's licence lets its picture be shown, and how licences are named on a page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from plant_traits.sources.licences import normalise_licence

SHOWABLE = ("CC0", "PD", "CC-BY", "CC-BY-SA", "CC-BY-NC", "CC-BY-NC-SA")
"""Licences under which anyone may pass on a reduced copy, on a page that is free of charge."""

NO_LICENCE, NOT_OPEN, NO_AUTHOR = "licence not recorded", "licence does not allow it", "author not recorded"
_WAIVED = ("CC0", "PD")


def withheld_reasons(licence: Sequence[str | None], attribution: Sequence[str | None]) -> list[str | None]:
    """Return per photo why its picture may not be passed on, None where it may.

    Args:
        licence: (n,) as the source spells it; None or NaN where not recorded.
        attribution: (n,) of the same photos.
    """
    return [_withheld(*pair) for pair in zip(licence, attribution, strict=True)]


def licence_text(licence: object) -> str:
    """Set a licence as people write it: ``CC-BY-NC-4.0`` becomes ``CC BY-NC 4.0``."""
    if not isinstance(licence, str) or not licence.strip():
        return NO_LICENCE
    name = normalise_licence(licence)
    match = re.fullmatch(r"CC-?(0|BY[A-Z-]*?)(?:-(\d\.\d))?", name)
    if match is None:
        return "public domain" if name == "PD" else name
    version = f" {match[2]}" if match[2] else ""
    return f"CC0{version}" if match[1] == "0" else f"CC {match[1]}{version}"


def licence_address(licence: object) -> str | None:
    """Return where the terms of a Creative Commons licence stand; None for others and where no version is stated."""
    match = re.fullmatch(r"CC(?:(0)| (BY[A-Z-]*))(?: (\d\.\d))?", licence_text(licence))
    if match is None:
        return None
    if match[1]:
        return "https://creativecommons.org/publicdomain/zero/1.0/"  # there is no other version
    return f"https://creativecommons.org/licenses/{match[2].lower()}/{match[3]}/" if match[3] else None


def _withheld(licence: object, attribution: object) -> str | None:
    if not isinstance(licence, str) or not licence.strip():
        return NO_LICENCE
    family = re.sub(r"-\d\.\d$", "", normalise_licence(licence))
    if family not in SHOWABLE:
        return NOT_OPEN
    named = isinstance(attribution, str) and bool(attribution.strip())
    return None if named or family in _WAIVED else NO_AUTHOR
