"""Write the report of one run: a single self-contained page with maps, scores, counts and how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from cmcrameri import cm
from markupsafe import Markup
from matplotlib.colors import ListedColormap

from data_catalog import Trait
from maps.product.layers import APPLICABILITY
from maps.report import model_section, name_rows, score_rows, tables, typography
from maps.report.figures import ScatterPanel, draw_reliability, draw_scatter
from maps.report.figures_model import draw_photo_reliability, draw_pit
from maps.report.inputs import ReportInputs, StageRecord
from maps.report.map_window import MapWindow, window_of
from maps.report.page_templates import inline_image, page_template
from maps.report.render import draw_map
from plant_traits.errors import InputError
from plant_traits.grid import Grid
from plant_traits.traits import from_working

__all__ = ["ReportInputs", "StageRecord", "write_report"]

# The palest tones of the ramp would read as empty cells.
_PHOTO_COLOURS = ListedColormap(cm.oslo_r(np.linspace(0.25, 0.95, 256)))
_ERROR_COLOURS = ListedColormap(cm.lajolla_r(np.linspace(0.03, 0.78, 256)))
_DISTANCE_COLOURS = ListedColormap(cm.devon_r(np.linspace(0.1, 0.85, 256)))
_NEEDED = (
    "value",
    "location",
    "standard_error",
    "n_photos",
    "photo_share",
    "source",
    "quality",
    "dissimilarity",
    "applicability",
)


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report as one HTML file with inline styles and figures; the same inputs give the same bytes.

    Args:
        inputs: everything the page shows.
        path: file to write; its folder must exist.

    Raises:
        InputError: the product lacks a variable or a trait that the report draws.
    """
    check_product(inputs)
    window = _window(inputs)
    page = page_template("report.html.j2").render(
        run=inputs,
        summary=tables.summarise(inputs),
        ledger=tables.ledger(inputs.stages),
        flow=tables.flow_diagram(inputs.stages),
        trait_sections=[_trait_section(inputs, trait, window) for trait in inputs.traits],
        score_tables=score_rows.score_tables(inputs),
        differences=score_rows.difference_rows(inputs),
        coverage=score_rows.coverage_rows(inputs),
        reliability=_reliability(inputs),
        plot_coverage=score_rows.plot_coverage_rows(inputs),
        names=name_rows.name_section(inputs),
        model_parts=_model_parts(inputs),
        training=tables.training_table(inputs),
        profile=tables.flatten(inputs.profile),
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def check_product(inputs: ReportInputs) -> None:
    """Check that the product holds what the report draws.

    Raises:
        InputError: a variable or a trait is missing.
    """
    missing = [name for name in _NEEDED if name not in inputs.product]
    if missing:
        raise InputError(
            f"the report's product lacks the variables {missing}; expected {list(_NEEDED)}, found "
            f"{sorted(str(name) for name in inputs.product.data_vars)}; build it with maps.product.dataset"
        )
    known = [str(name) for name in inputs.product["trait"].values]
    absent = [trait.id for trait in inputs.traits if trait.id not in known]
    if absent:
        raise InputError(
            f"the report is asked for the traits {absent}, which the product does not hold; found {known}; "
            "pass the traits the product was built with"
        )


def _window(inputs: ReportInputs) -> MapWindow:
    return window_of(inputs.product["value"].notnull().any("trait"))


def _trait_section(inputs: ReportInputs, trait: Trait, window: MapWindow) -> dict[str, Any]:
    product = inputs.product.sel(trait=trait.id)
    unit = typography.unit_text(trait.unit)
    logarithmic = trait.working_space != "identity"
    shown, share = product["value"].notnull(), product["photo_share"]
    outside = product["applicability"] == APPLICABILITY["outside"]
    error_space = f"in {trait.working_space} units" if logarithmic else f"({unit})"
    return {
        "trait": trait,
        "unit": unit,
        "logarithmic": logarithmic,
        "facts": tables.trait_facts(product, trait),
        "value_map": inline_image(
            draw_map(
                product["value"],
                title=f"{trait.name}: community mean",
                label=f"{trait.name} ({unit})",
                log=logarithmic,
                window=window,
            )
        ),
        "error_map": inline_image(
            draw_map(
                product["standard_error"],
                title=f"{trait.name}: standard error",
                label=f"standard error {error_space}",
                cmap=_ERROR_COLOURS,
                window=window,
            )
        ),
        "source_map": inline_image(
            draw_map(
                share.where(share > 0),
                title=f"{trait.name}: where the estimate comes from",
                label="share of the photos",
                cmap=_PHOTO_COLOURS,
                vmin=0.0,
                vmax=1.0,
                window=window,
                underlay=shown & (share == 0),
                underlay_label="climate and soil alone",
            )
        ),
        "applicability_map": inline_image(
            draw_map(
                product["dissimilarity"].where(~outside),
                title=f"{trait.name}: area of applicability",
                label="dissimilarity index",
                cmap=_DISTANCE_COLOURS,
                window=window,
                underlay=outside,
                underlay_label="outside",
            )
        ),
        "scatters": _scatters(inputs, trait),
    }


def _scatters(inputs: ReportInputs, trait: Trait) -> list[dict[str, Any]]:
    product = inputs.product
    grid = Grid.parse(inputs.grid)
    rows = grid.cell_of(np.asarray(product["lat"]), np.zeros(product.sizes["lat"])) // grid.n_lon
    area = np.broadcast_to(grid.row_area_m2[rows][:, None], (product.sizes["lat"], product.sizes["lon"]))
    figures = []
    for name, reference in inputs.references.items():
        truth = _natural(reference, product, trait)
        if truth is None or not np.isfinite(truth).any():
            continue
        candidates = {inputs.published_name: inputs.unseen.get(name, product), **inputs.maps}
        panels = [
            ScatterPanel(label, values, truth, area)
            for label, other in candidates.items()
            if (values := _natural(other, product, trait)) is not None
        ]
        png = draw_scatter(
            panels, reference=name, unit=typography.unit_text(trait.unit), log=trait.working_space != "identity"
        )
        figures.append({"reference": name, "image": inline_image(png), "maps": [panel.name for panel in panels]})
    return figures


def _natural(dataset: xr.Dataset, product: xr.Dataset, trait: Trait) -> np.ndarray[Any, Any] | None:
    """Return a dataset's location on the product's cells in natural units, or None when it lacks the trait."""
    if trait.id not in {str(name) for name in dataset["trait"].values}:
        return None
    location = dataset["location"].sel(trait=trait.id).transpose("lat", "lon")
    location = location.reindex(lat=product["lat"], lon=product["lon"], method="nearest", tolerance=1e-6)
    return from_working(trait, np.asarray(location, dtype=np.float64))


def _model_parts(inputs: ReportInputs) -> list[dict[str, Any]]:
    return [
        part
        | {
            "reliability": inline_image(draw_photo_reliability(model_section.coverage_panels(inputs, part["key"]))),
            "pit": inline_image(draw_pit(model_section.pit_panels(inputs, part["key"]))),
        }
        for part in model_section.model_section(inputs)
    ]


def _reliability(inputs: ReportInputs) -> Markup | None:
    lines = score_rows.reliability_lines(inputs)
    return inline_image(draw_reliability(lines)) if lines else None
