"""The built-in catalogue holds, and refuses what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_catalog import Catalog, CatalogError, load_catalog

WOOD_DENSITY = """
id: wood_density
name: Wood density
definition: Dry mass per fresh volume of the stem.
unit: g cm-3
try_ids: [4]
valid_range: [0.05, 1.5]
unit_factors: {g cm-3: 1.0}
"""


def overlay(folder: Path, kind: str, text: str) -> Path:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / kind / "entry.yaml").write_text(text, encoding="utf-8")
    return folder


def test_built_in_catalogue_holds(catalog: Catalog) -> None:
    assert catalog.check() == []
    assert list(catalog.traits) == ["height", "leaf_area", "sla", "leaf_n"]
    assert catalog.trait("leaf_area").likelihood == "laplace"
    assert {"demo", "tiny", "real", "global"} <= set(catalog.profiles)


@pytest.mark.parametrize(
    ("layer", "scale", "offset"),
    [("bio1", 0.1, -273.15), ("bio7", 0.1, 0.0), ("bio11", 0.1, -273.15), ("bio12", 0.1, 0.0)],
)
def test_chelsa_scale_and_offset(catalog: Catalog, layer: str, scale: float, offset: float) -> None:
    entry = catalog.source("chelsa-2.1").layer(layer)
    assert (entry.scale, entry.offset) == (scale, offset)


def test_soilgrids_scales(catalog: Catalog) -> None:
    scales = {layer.id: layer.scale for layer in catalog.source("soilgrids-2.0").layers}
    assert {name for name, scale in scales.items() if scale == 0.01} == {"bdod", "nitrogen"}
    assert set(scales.values()) == {0.01, 0.1}


def test_a_fifth_trait_is_one_entry(tmp_path: Path) -> None:
    extended = load_catalog(overlay(tmp_path, "traits", WOOD_DENSITY))
    assert extended.trait("wood_density").try_ids == (4,)
    assert len(extended.traits) == 5


def test_unknown_entry_names_the_known_ones(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"unknown trait 'heigth'.*height"):
        catalog.trait("heigth")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("traits", "id: [", "not valid YAML"),
        ("traits", "- a\n- b", "must be a mapping"),
        ("traits", WOOD_DENSITY + "colour: red", "colour"),
        ("traits", WOOD_DENSITY.replace("[0.05, 1.5]", "[-1, 1.5]"), "positive"),
        ("traits", WOOD_DENSITY.replace("[4]", "[14]"), "belongs to both"),
        ("traits", WOOD_DENSITY + "---" + WOOD_DENSITY, "already defined"),
        ("regions", "id: nowhere\nname: x\nbbox: [0, 10, 5, 5]", "south < north"),
        (
            "profiles",
            "id: p\ntitle: p\nmonth: '2026-01'\ntraits: [colour]\ninputs: {root: x}",
            "unknown trait 'colour'",
        ),
        ("profiles", "id: p\ntitle: p\nmonth: '2026-01'\ninputs: {}", "exactly one of"),
    ],
)
def test_bad_entries_are_refused(tmp_path: Path, kind: str, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load_catalog(overlay(tmp_path, kind, text))


def test_missing_overlay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not exist"):
        load_catalog(tmp_path / "nowhere")
