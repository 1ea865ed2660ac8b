"""Creative Commons licences as sources spell them, and which of two is the stricter."""

from __future__ import annotations

import re

import pandas as pd

_STRICTNESS = ("CC0", "PD", "CC-BY", "CC-BY-SA", "CC-BY-NC", "CC-BY-NC-SA", "CC-BY-ND", "CC-BY-NC-ND")


def normalise_licence(text: str) -> str:
    """Write a licence in one way, such as ``CC-BY-NC-4.0``; what is not recognised stays as it is.

    Understands addresses of creativecommons.org, GBIF's ``CC_BY_NC_4_0`` and iNaturalist's ``CC-BY-NC``.
    """
    lower = text.strip().lower()
    version = re.search(r"[-_/ ](\d)[._](\d)", lower)
    number = f"-{version[1]}.{version[2]}" if version else ""
    if re.search(r"publicdomain/zero|\bcc0|cc_?0_", lower):
        return f"CC0{number}"
    if re.search(r"publicdomain/mark|^pd$", lower):
        return "PD"
    match = re.search(r"(?:creativecommons\.org/licenses/|^cc[ _-]?)(by(?:[ _-](?:nc|sa|nd))*)(?![a-z])", lower)
    if match is None:
        return text.strip()
    return "CC-" + re.sub(r"[ _]", "-", match[1]).upper() + number


def stricter_licence(record: pd.Series, photo: pd.Series) -> pd.Series:
    """Return the stricter of a record's and its photo's licence, row by row, normalised.

    One that is missing gives way to the other; one that is not recognised counts as the strictest.
    """
    names = {text: normalise_licence(text) for text in pd.unique(pd.concat([record, photo]).dropna())}
    rank = {text: _strictness(text) for text in names.values()}
    of_record, of_photo = record.map(names), photo.map(names)
    take_photo = of_record.isna() | (of_photo.map(rank) > of_record.map(rank))
    return of_record.where(~(take_photo & of_photo.notna()), of_photo)


def stricter_of_two(record: str | None, photo: str | None) -> str | None:
    """Return what ``stricter_licence`` does, of one pair."""
    if record is None or photo is None:
        given = photo if record is None else record
        return None if given is None else normalise_licence(given)
    of_record, of_photo = normalise_licence(record), normalise_licence(photo)
    return of_photo if _strictness(of_photo) > _strictness(of_record) else of_record


def _strictness(licence: str) -> int:
    family = re.sub(r"-\d\.\d$", "", licence)
    return _STRICTNESS.index(family) if family in _STRICTNESS else len(_STRICTNESS)
