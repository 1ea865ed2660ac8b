"""The page of photos: licences, texts on the natural scale, escaped names, and nothing from elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_catalog import Catalog, Trait
from maps.report.contact_sheet import (
    ContactSheet,
    estimate_text,
    thumbnail,
    thumbnail_or_reason,
    write_contact_sheet,
)
from plant_traits.errors import InputError

if TYPE_CHECKING:
    from tests.maps.report.conftest import Page

PageOf = Callable[[ContactSheet, Path], "Page"]

HOSTILE = "Rosa <script>alert('x')</script>"
FROST = Trait(
    id="frost", name="Frost limit", definition="d", unit="degC", working_space="identity", valid_range=(-90.0, 20.0)
)


def picture(size: tuple[int, int] = (400, 300), **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, format="JPEG", **options)  # type: ignore[arg-type]
    return out.getvalue()


def photo_row(number: int, **values: object) -> dict[str, object]:
    return {
        "observation_id": f"gbif:key:https://www.inaturalist.org/observations/{number}", "photo_id": f"p{number}",
        "photo_url": f"https://example.org/{number}.jpg", "species": "Acer rubrum", "growth_form": "tree",
        "licence": "CC-BY-NC-4.0", "attribution": "Ada", "modalities": "image+geospatial",
    } | values  # fmt: skip


def estimate(number: int, trait: str, mean: float, lower: float, upper: float) -> dict[str, object]:
    observation = f"gbif:key:https://www.inaturalist.org/observations/{number}"
    return {"observation_id": observation, "photo_id": f"p{number}", "trait": trait} | {
        "mean": mean, "lower": lower, "upper": upper, "checked": True,
    }  # fmt: skip


@pytest.fixture(scope="module")
def sheet(catalog: Catalog) -> ContactSheet:
    photos = pd.DataFrame(
        [
            photo_row(1),
            photo_row(2, species=HOSTILE, growth_form="herb", licence="CC0-1.0", attribution=None, modalities="image"),
            photo_row(3, licence=None, attribution=None, observation_id="o3", photo_url="javascript:alert(1)"),
        ]
    )
    estimates = pd.DataFrame(
        [
            estimate(1, "height", np.log(1.2), np.log(0.4), np.log(3.5)),
            estimate(1, "leaf_area", np.log(12_345), np.log(1_234), -np.inf),
            estimate(2, "height", np.log(0.0456), np.log(0.0123), np.log(0.1)),
            estimate(3, "height", np.log(20), np.log(10), np.log(40)) | {"observation_id": "o3"},
        ]
    )
    unusable = pd.DataFrame([photo_row(4, modalities="geospatial") | {"reason": "corrupt"}])
    return ContactSheet(
        title="Photos <b>and</b> traits",
        traits=[catalog.trait("height"), catalog.trait("leaf_area")],
        level=0.9,
        model_id="874b5cf4458ed1b2",
        photos=photos,
        estimates=estimates,
        thumbnails={"p1": thumbnail(picture()), "p2": thumbnail(picture((100, 400)))},
        withheld={"p3": "licence not recorded"},
        unusable=unusable,
        counts={"photos": 2345, "predicted": 2340, "showable": 1800},
        withheld_counts={"licence not recorded": 540},
        unusable_counts={"corrupt": 4, "strange_reason": 1},
    )


@pytest.fixture(scope="module")
def page_of(read_page: Callable[[Path], Page]) -> PageOf:
    """Return a function that writes the page of a sheet in a folder and reads it."""

    def made(sheet: ContactSheet, folder: Path) -> Page:
        write_contact_sheet(sheet, folder / "photos.html")
        return read_page(folder / "photos.html")

    return made


@pytest.fixture(scope="module")
def page(sheet: ContactSheet, page_of: PageOf, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(sheet, tmp_path_factory.mktemp("page"))


def test_estimates_are_set_on_the_natural_scale(catalog: Catalog) -> None:
    height, sla = catalog.trait("height"), catalog.trait("sla")
    assert estimate_text(height, np.log(1.2), np.log(0.4), np.log(3.5)) == ("1.2 m", "(0.40–3.5)")
    assert estimate_text(sla, np.log(14), np.log(9.96), np.log(21.4)) == ("14 m² kg⁻¹", "(10–21)")
    assert estimate_text(height, np.log(1.2), -np.inf, np.inf) == ("1.2 m", "(no bound known)")
    assert estimate_text(height, np.log(1.2), np.log(0.4), np.log(3.5), False) == ("1.2 m", "(0.40–3.5, unchecked)")
    assert estimate_text(height, np.log(1.2), np.nan, np.nan) == ("1.2 m", "")
    assert estimate_text(height, np.nan, np.nan, np.nan) == ("–", "")
    assert estimate_text(FROST, -12.0, -30.0, 4.0) == ("−12 degC", "(−30 to 4.0)")


def test_thumbnails_are_small_upright_and_bare() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x010E] = "taken at a secret place"
    small = thumbnail(picture((400, 300), exif=exif.tobytes(), comment="secret name"))
    with Image.open(io.BytesIO(small)) as found:
        assert (found.format, found.size) == ("JPEG", (120, 160))
        assert not found.getexif()
    assert b"secret" not in small
    assert thumbnail_or_reason(b"no picture") == (None, "not_an_image")
    assert thumbnail_or_reason(picture()[:2000])[1] == "corrupt"


def test_cards_tell_estimates_credits_and_reasons(page: Page) -> None:
    text = page.text
    assert "Tree (1) Acer rubrum Plant height 1.2 m (0.40–3.5) Leaf area 12,000 mm² (no bound known)" in text
    assert "From photo and place. Photo: Ada, CC BY-NC 4.0 , source ; reduced." in text
    assert "Plant height 0.046 m (0.012–0.10) Leaf area –" in text
    assert "From photo alone. Photo: author not recorded, CC0 1.0 , source ; reduced." in text
    assert "Acer rubrum tree 20 m (10–40) – photo and place p3, author not recorded; licence not recorded" in text
    assert "Acer rubrum tree file damaged place alone p4" in text


@pytest.mark.parametrize(
    "expected",
    ["2,345 photos in this run", "2,340 of them carry", "2 shown here", "540 predicted, but", "5 could not be used",
     "licence not recorded 540", "file damaged 4", "strange reason 1", "2 of 1,800 photos", "90 %", "874b5cf4458ed1b2"],
)  # fmt: skip
def test_the_page_holds_every_count(page: Page, expected: str) -> None:
    assert expected in page.text


def test_the_page_is_whole_and_loads_nothing(page: Page) -> None:
    assert page.open == []
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "url(" not in page.markup
    assert "@import" not in page.markup
    assert page.markup.count('loading="lazy"') == 2
    assert set(page.links) == {
        "https://creativecommons.org/licenses/by-nc/4.0/", "https://creativecommons.org/publicdomain/zero/1.0/",
        *(f"https://www.inaturalist.org/observations/{number}" for number in (1, 2, 4)),
    }  # fmt: skip


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    assert "<script" not in page.markup
    assert HOSTILE in page.text
    assert "Photos <b>and</b> traits" in page.text
    assert "javascript:" not in page.markup


def test_bars_stay_within_the_span_of_all_intervals(page: Page) -> None:
    markup = page.markup
    low, high = np.log(0.0123), np.log(40)
    left, width = 100 * (np.log(0.4) - low) / (high - low), 100 * np.log(3.5 / 0.4) / (high - low)
    assert f"left:{left:.1f}%;width:{width:.1f}%" in markup
    assert "left:0.0%" in markup  # the widest interval's lower end
    assert "left:inf" not in markup
    assert "nan%" not in markup


def test_banners_tell_simulated_and_private_pages(
    sheet: ContactSheet, page: Page, page_of: PageOf, tmp_path: Path
) -> None:
    assert 'role="note"' not in page.markup
    simulated = page_of(replace(sheet, simulated=True), tmp_path)
    assert "Virtual world: simulated data." in simulated.text
    assert all("creativecommons.org" in link for link in simulated.links)  # its records are at no real address
    private = page_of(replace(sheet, private=True), tmp_path).text
    assert "Not to be passed on." in private
    assert "540 photos of this run have no licence on record" in private


def test_an_empty_run_has_a_page(sheet: ContactSheet, page_of: PageOf, tmp_path: Path) -> None:
    empty = replace(
        sheet, photos=sheet.photos.iloc[:0], estimates=sheet.estimates.iloc[:0], unusable=sheet.unusable.iloc[:0],
        thumbnails={}, counts={"photos": 0, "predicted": 0, "showable": 0}, withheld_counts={}, unusable_counts={},
    )  # fmt: skip
    text = page_of(empty, tmp_path).text
    assert "0 photos in this run" in text
    assert "Every photo could be used." in text


def test_the_same_sheet_gives_the_same_bytes(sheet: ContactSheet, page: Page, page_of: PageOf, tmp_path: Path) -> None:
    assert page_of(replace(sheet), tmp_path).markup == page.markup


def test_wrong_tables_are_refused(sheet: ContactSheet, page_of: PageOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"table photos lacks the columns \['licence'\]"):
        page_of(replace(sheet, photos=sheet.photos.drop(columns="licence")), tmp_path)
    with pytest.raises(InputError, match=r"found also \['wood_density'\]"):
        page_of(replace(sheet, estimates=sheet.estimates.assign(trait="wood_density")), tmp_path)


@pytest.mark.real
def test_real_photos_have_thumbnails(real_data: Path) -> None:
    files = sorted((real_data / "photos" / "inat_ucsc").glob("*.jpg"))
    assert len(files) == 417
    for file in files[::20]:
        with Image.open(io.BytesIO(thumbnail(file.read_bytes()))) as small:
            assert max(small.size) == 160
