"""A page of photos with what was predicted from each: small pictures, traits with their intervals, and whose they are.

A photo is shown only where its licence lets anyone pass on a reduced copy and, unless the licence waives it, its author
is named. All others are listed without their picture.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from data_catalog import Trait
from maps.report import typography
from maps.report.page_templates import inline_image, page_template
from maps.report.photo_licences import licence_address, licence_text
from plant_traits.errors import InputError, PhotoError
from plant_traits.model.images import decode_photo
from plant_traits.traits import from_working

THUMBNAIL_PIXELS = 160
MODALITY_WORDS = {
    "image+geospatial": "photo and place",
    "image": "photo alone",
    "geospatial": "place alone",
    "none": "nothing",
}
REASONS = {
    "blank": "blank picture",
    "corrupt": "file damaged",
    "forbidden": "server refused it",
    "gone": "no longer at its source",
    "licence_not_allowed": "licence not among those that are fetched",
    "missing": "file missing",
    "not_a_photo": "not a photo",
    "not_encodable": "not readable by the encoder",
    "not_an_image": "not an image file",
    "too_large": "too large",
    "too_small": "too small",
}
_RECORD = ("observation_id", "photo_id", "photo_url", "species", "growth_form")
_JPEG_QUALITY = 72


@dataclass(frozen=True)
class ContactSheet:
    """Everything the page shows.

    Attributes:
        title: heading of the page.
        traits: what was predicted, in display order.
        level: probability of the intervals.
        model_id: which model predicted.
        photos: one row per photo to list: ``observation_id``, ``photo_id``, ``photo_url``, ``species``,
            ``growth_form``, ``licence``, ``attribution``, ``modalities``.
        estimates: ``observation_id``, ``photo_id``, ``trait``, ``mean``, ``lower`` and ``upper`` in working space, and
            ``checked``, whether the interval was calibrated on held-out records.
        thumbnails: JPEG bytes by photo id; a photo without one is listed in words.
        withheld: by photo id, why its picture is not shown.
        unusable: photos that could not be read: columns of ``photos`` and ``reason``.
        counts: of all photos, those listed or not: ``photos``, ``predicted``, ``showable``.
        withheld_counts: reason to number, of all photos.
        unusable_counts: reason to number, of all photos.
        simulated: the photos come from a virtual world.
        private: pictures without an open licence are shown too, so that the page must not be passed on.
    """

    title: str
    traits: Sequence[Trait]
    level: float
    model_id: str
    photos: pd.DataFrame
    estimates: pd.DataFrame
    thumbnails: Mapping[str, bytes]
    withheld: Mapping[str, str]
    unusable: pd.DataFrame
    counts: Mapping[str, int]
    withheld_counts: Mapping[str, int] = field(default_factory=dict)
    unusable_counts: Mapping[str, int] = field(default_factory=dict)
    simulated: bool = False
    private: bool = False


def thumbnail(data: bytes) -> bytes:
    """Return a photo as a JPEG of at most 160 pixels a side, upright and without any metadata of the original.

    Raises:
        PhotoError: the photo cannot be decoded.
    """
    picture = decode_photo(data)
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    out = io.BytesIO()
    bare.save(out, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return out.getvalue()


def thumbnail_or_reason(data: bytes) -> tuple[bytes | None, str | None]:
    """Return the thumbnail, or the reason why there is none."""
    try:
        return thumbnail(data), None
    except PhotoError as error:
        return None, error.reason


def write_contact_sheet(sheet: ContactSheet, path: Path) -> None:
    """Write the page as one HTML file that loads nothing from elsewhere; the same sheet gives the same bytes.

    Raises:
        InputError: the tables lack a column, or an estimate is of another trait.
    """
    _check(sheet)
    cards = _cards(sheet)
    pictured = [card for card in cards if card["picture"] is not None]
    forms = sorted({card["form"] for card in pictured}, key=_form_order)
    page = page_template("photos.html.j2").render(
        sheet=sheet,
        level=f"{sheet.level * 100:g} %",
        groups=[(form, [card for card in pictured if card["form"] == form]) for form in forms],
        shown=len(pictured),
        listed=[card for card in cards if card["picture"] is None],
        unusable=[_unusable(row, sheet.simulated) for row in sheet.unusable.to_dict("records")],
        unusable_counts={REASONS.get(reason, _spaced(reason)): n for reason, n in sheet.unusable_counts.items()},
        unusable_total=sum(sheet.unusable_counts.values()),
        withheld_total=sum(sheet.withheld_counts.values()),
        pixels=THUMBNAIL_PIXELS,
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def estimate_text(trait: Trait, mean: float, lower: float, upper: float, checked: bool = True) -> tuple[str, str]:
    """Set a working-space estimate and its interval on the natural scale: ``1.2 m`` and ``(0.40–3.5)``.

    An interval that was not calibrated is said to be unchecked; one without an end, to have none; a missing estimate is
    a dash, a missing interval nothing.
    """
    if not math.isfinite(mean):
        return typography.MISSING, ""
    middle, low, high = (float(x) for x in from_working(trait, np.array([mean, lower, upper])))
    value = f"{typography.quantity_text(middle, 2)} {typography.unit_text(trait.unit)}".strip()
    if math.isnan(lower) or math.isnan(upper):
        return value, ""
    if math.isinf(lower) or math.isinf(upper):
        return value, "(no bound known)"
    ends = typography.quantity_text(low, 2), typography.quantity_text(high, 2)
    words = (" to " if any("−" in end for end in ends) else "–").join(ends)
    return value, f"({words})" if checked else f"({words}, unchecked)"


def _check(sheet: ContactSheet) -> None:
    wanted = {
        "photos": (*_RECORD, "licence", "attribution", "modalities"),
        "estimates": ("observation_id", "photo_id", "trait", "mean", "lower", "upper", "checked"),
        "unusable": (*_RECORD, "modalities", "reason"),
    }
    for name, columns in wanted.items():
        missing = [column for column in columns if column not in getattr(sheet, name).columns]
        if missing:
            raise InputError(f"contact sheet: the table {name} lacks the columns {missing}; expected {columns}")
    strange = sorted(set(sheet.estimates["trait"]) - {trait.id for trait in sheet.traits})
    if strange:
        raise InputError(
            f"contact sheet: expected estimates of {[t.id for t in sheet.traits]}, found also {strange}; "
            "pass the traits of the model that predicted"
        )


def _cards(sheet: ContactSheet) -> list[dict[str, Any]]:
    """Return one card per photo, sorted by growth form, species and photo."""
    spans = {trait.id: _span(sheet.estimates, trait) for trait in sheet.traits}
    of_photo = {
        key: {row["trait"]: row for row in rows.to_dict("records")}
        for key, rows in sheet.estimates.groupby(["observation_id", "photo_id"], sort=False)
    }
    cards = []
    for row in sheet.photos.to_dict("records"):
        found = of_photo.get((row["observation_id"], row["photo_id"]), {})
        data = sheet.thumbnails.get(row["photo_id"])
        cards.append(
            _record(row, sheet.simulated)
            | {
                "picture": None if data is None else inline_image(data, "jpeg"),
                "size": (0, 0) if data is None else Image.open(io.BytesIO(data)).size,
                "modalities": MODALITY_WORDS.get(row["modalities"], row["modalities"]),
                "author": _text(row["attribution"]) or "author not recorded",
                "licence": licence_text(row["licence"]),
                "licence_url": licence_address(row["licence"]),
                "reason": sheet.withheld.get(row["photo_id"], ""),
                "traits": [_line(trait, found.get(trait.id), spans[trait.id]) for trait in sheet.traits],
            }
        )
    return sorted(cards, key=lambda card: (_form_order(card["form"]), card["species"], card["photo_id"]))


def _record(row: Mapping[Hashable, Any], simulated: bool) -> dict[str, Any]:
    return {
        "photo_id": str(row["photo_id"]),
        "species": _text(row["species"]) or "species not stated",
        "form": _text(row["growth_form"]) or "growth form unknown",
        "link": None if simulated else _source(row),  # an address of a virtual world may be that of another plant
    }


def _unusable(row: Mapping[Hashable, Any], simulated: bool) -> dict[str, Any]:
    return _record(row, simulated) | {
        "reason": REASONS.get(row["reason"], _spaced(row["reason"])),
        "modalities": MODALITY_WORDS.get(row["modalities"], row["modalities"]),
    }


def _line(trait: Trait, row: Mapping[Hashable, Any] | None, span: tuple[float, float]) -> dict[str, Any]:
    """Return a trait's line on a card: its words, and where its interval lies in the span of all of them, in %."""
    if row is None:
        return {"name": trait.name, "value": typography.MISSING, "interval": "", "bar": None}
    mean, lower, upper = float(row["mean"]), float(row["lower"]), float(row["upper"])
    bar = None
    if math.isfinite(mean) and span[1] > span[0]:
        ends = [100 * (min(max(x, span[0]), span[1]) - span[0]) / (span[1] - span[0]) for x in (lower, mean, upper)]
        bar = {"left": f"{ends[0]:.1f}", "width": f"{ends[2] - ends[0]:.1f}", "at": f"{ends[1]:.1f}"}
        bar = bar if all(math.isfinite(end) for end in ends) else None
    value, interval = estimate_text(trait, mean, lower, upper, bool(row["checked"]))
    return {"name": trait.name, "value": value, "interval": interval, "bar": bar}


def _span(estimates: pd.DataFrame, trait: Trait) -> tuple[float, float]:
    of_trait = estimates.loc[estimates["trait"] == trait.id, ["lower", "upper"]]
    values: npt.NDArray[np.float64] = of_trait.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _source(row: Mapping[Hashable, Any]) -> str | None:
    """Return the address of the record at its source, else of the photo; only web addresses count."""
    in_id = re.search(r"https?://[^\s\"'<>]+$", str(row["observation_id"]))
    if in_id:
        return in_id[0]
    url = row["photo_url"]
    return url if isinstance(url, str) and re.fullmatch(r"https?://[^\s\"'<>]+", url) else None


def _form_order(form: str) -> tuple[int, str]:
    known = ("tree", "shrub", "herb")
    return (known.index(form), form) if form in known else (len(known) + (form == "growth form unknown"), form)


def _spaced(reason: str) -> str:
    return reason.replace("_", " ")


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
