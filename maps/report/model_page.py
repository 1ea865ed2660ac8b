"""The page of a trained model: what it is, what it was trained on, how it scores on records it has not seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from maps.report import model_section
from maps.report.figures_model import draw_photo_reliability, draw_pit
from maps.report.figures_training import REFIT, draw_learning_curves
from maps.report.inputs import ReportInputs
from maps.report.model_facts import (
    HEADLINE_LEVEL,
    ModelPage,
    calibration_tables,
    cleaning_tables,
    counted,
    headlines,
    split_table,
)
from maps.report.page_templates import inline_image, page_template
from maps.report.tables import flatten
from plant_traits.errors import ModelError
from plant_traits.schemas import SCORE

PAGE, CURVES_PICTURE, RELIABILITY_PICTURE, PIT_PICTURE = (
    "model.html",
    "learning_curves.png",
    "reliability.png",
    "pit.png",
)


def write_model_files(page: ModelPage, folder: Path) -> list[str]:
    """Write ``model.html`` and its figures as PNG files; the same model gives the same bytes.

    Args:
        page: what to show.
        folder: where to; it must exist.

    Returns:
        Names of the files written.

    Raises:
        ModelError: the card lacks an entry that the page needs.
    """
    missing = [
        name for name in ("model_id", "traits", "covariates", "settings", "calibration") if name not in page.card
    ]
    if missing:
        raise ModelError(f"model page: the card lacks {missing}; expected a card of save_model, train the model again")
    inputs = _report_inputs(page)
    pictures: dict[str, bytes] = {}
    if page.curves is not None and len(page.curves):
        names = {trait.id: trait.name for trait in page.traits}
        pictures[CURVES_PICTURE] = draw_learning_curves(page.curves, names)
    parts = []
    for part in model_section.model_section(inputs):
        reliability = draw_photo_reliability(model_section.coverage_panels(inputs, part["key"]))
        pit = draw_pit(model_section.pit_panels(inputs, part["key"]))
        parts.append(part | {"reliability": inline_image(reliability), "pit": inline_image(pit)})
        pictures.setdefault(RELIABILITY_PICTURE, reliability)
        pictures.setdefault(PIT_PICTURE, pit)
    html = page_template("model_page.html.j2").render(
        page=page,
        card=page.card,
        headlines=headlines(page),
        split_tables=[table for key in model_section.COMPARED_WITH if (table := split_table(page, key))],
        model_parts=parts,
        curves=inline_image(pictures[CURVES_PICTURE]) if CURVES_PICTURE in pictures else None,
        counts=counted(page.metrics),
        cleaning=cleaning_tables(page.dropped),
        refitted=page.curves is not None and bool((page.curves["round"].astype(str) == REFIT).any()),
        calibration=calibration_tables(page),
        settings=flatten(page.card["settings"]),
        level=f"{HEADLINE_LEVEL * 100:g} %",
    )
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    (folder / PAGE).write_text(html, encoding="utf-8", newline="\n")
    return [PAGE, *pictures]


def _report_inputs(page: ModelPage) -> ReportInputs:
    """Return the inputs of the report's section on the model, which has no map."""
    return ReportInputs(
        title=page.title, profile={}, region="", month="", grid="", product=xr.Dataset(), traits=page.traits,
        scores=pd.DataFrame(columns=SCORE.names), differences=None, coverage=None, references={}, stages=(), inputs=(),
        citations=(), versions={}, training=page.metrics, outputs={}, simulated=page.simulated,
    )  # fmt: skip
