"""Licences of photos: which allow a picture to be shown, and how they are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from maps.report.photo_licences import licence_address, licence_text, withheld_reasons
from plant_traits.sources.photo_table import read_photo_table


@pytest.mark.parametrize(
    ("licence", "author", "reason"),
    [
        ("CC-BY-4.0", "Ada", None),
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "Ada", None),
        ("CC-BY-NC-SA", "Ada", None),
        ("CC0-1.0", None, None),
        ("PD", " ", None),
        ("CC-BY-4.0", None, "author not recorded"),
        ("CC-BY-4.0", "  ", "author not recorded"),
        ("CC-BY-ND-4.0", "Ada", "licence does not allow it"),
        ("CC-BY-NC-ND", "Ada", "licence does not allow it"),
        ("all rights reserved", "Ada", "licence does not allow it"),
        ("", "Ada", "licence not recorded"),
        (None, "Ada", "licence not recorded"),
        (float("nan"), None, "licence not recorded"),
    ],
)
def test_a_picture_is_shown_under_an_open_licence_with_its_author(
    licence: str | None, author: str | None, reason: str | None
) -> None:
    assert withheld_reasons([licence], [author]) == [reason]


@pytest.mark.parametrize(
    ("licence", "text", "address"),
    [
        ("CC-BY-NC-4.0", "CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
        ("CC-BY-SA-3.0", "CC BY-SA 3.0", "https://creativecommons.org/licenses/by-sa/3.0/"),
        ("CC-BY", "CC BY", None),  # which version is not known
        ("CC0", "CC0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("CC0-1.0", "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("PD", "public domain", None),
        ("All rights reserved", "All rights reserved", None),
        (None, "licence not recorded", None),
    ],
)
def test_licences_are_named_as_people_know_them(licence: str | None, text: str, address: str | None) -> None:
    assert licence_text(licence) == text
    assert licence_address(licence) == address


@pytest.mark.real
def test_real_photos_without_a_recorded_licence_are_withheld(real_data: Path) -> None:
    table = read_photo_table(real_data / "photos" / "inat_ucsc.csv", "ucsc-photos")
    reasons = withheld_reasons(table["licence"].tolist(), table["attribution"].tolist())
    assert reasons == ["licence not recorded"] * 417
