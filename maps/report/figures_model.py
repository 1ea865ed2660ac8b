"""Draw how well the intervals of single predictions hold: coverage against nominal level, and PIT histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maps.report.panels import FRAME, name_panel, panel_rows_and_columns, style_panel
from maps.report.render import INK, WIDTH_INCHES, png_bytes

FloatArray = npt.NDArray[np.float64]

_CALIBRATED, _RAW = "#1f5a7a", "#c2703d"


@dataclass(frozen=True)
class CoveragePanel:
    """Coverage of one trait's intervals.

    Attributes:
        name: set above the panel.
        level: (l,) nominal probabilities.
        lines: label to (l,) observed shares.
    """

    name: str
    level: FloatArray
    lines: Mapping[str, FloatArray]


@dataclass(frozen=True)
class PitPanel:
    """Probability integral transforms of one trait: counts in equal bins from 0 to 1, before and after calibration.

    Attributes:
        name: set above the panel.
        as_predicted: counts before calibration.
        calibrated: counts after it, None where it was not calibrated.
    """

    name: str
    as_predicted: Sequence[int]
    calibrated: Sequence[int] | None


def draw_photo_reliability(panels: Sequence[CoveragePanel]) -> bytes:
    """Draw observed coverage against nominal level, one panel per trait, as a PNG.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    figure, axes = _panels(len(panels), height=1.12)
    for panel, place in zip(panels, axes, strict=True):
        place.plot((0, 1), (0, 1), color=FRAME, linewidth=0.9)
        order = np.argsort(panel.level, kind="stable")
        styles = ((_RAW, "s", ":"), (_CALIBRATED, "o", "-"), ("#4f7f3a", "^", "--"))
        for index, (label, observed) in enumerate(panel.lines.items()):
            colour, marker, line = styles[index % len(styles)]
            place.plot(
                panel.level[order],
                observed[order],
                color=colour,
                marker=marker,
                markersize=4,
                linestyle=line,
                linewidth=1.4,
                label=label,
            )
        lowest = min(0.4, *(float(np.min(observed)) - 0.05 for observed in (panel.level, *panel.lines.values())))
        place.set(xlim=(lowest, 1.01), ylim=(lowest, 1.01))
        place.set_aspect("equal")
        name_panel(place, panel.name, "nominal level")
        style_panel(place)
    if panels:
        axes[0].set_ylabel("share held", fontsize=8.5, color=INK)
        _legend(figure, axes[0])
    return png_bytes(figure)


def draw_pit(panels: Sequence[PitPanel]) -> bytes:
    """Draw histograms of probability integral transforms, one panel per trait, as a PNG.

    Bars are shares of the records, so that an even histogram is flat at 1; the outline is before calibration.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    figure, axes = _panels(len(panels), height=0.92)
    for panel, place in zip(panels, axes, strict=True):
        place.axhline(1, color=FRAME, linewidth=0.9, zorder=3)
        edges = np.linspace(0, 1, len(panel.as_predicted) + 1)
        if panel.calibrated is not None:
            place.stairs(
                _density(panel.calibrated), edges, fill=True, color=_CALIBRATED, alpha=0.45, label="calibrated"
            )
        place.stairs(_density(panel.as_predicted), edges, color=_RAW, linewidth=1.4, label="as predicted")
        highest = max(float(_density(counts).max()) for counts in (panel.as_predicted, panel.calibrated or [1]))
        place.set(xlim=(0, 1), ylim=(0, max(2.0, 1.08 * highest)))
        name_panel(place, panel.name, "PIT")
        style_panel(place)
    if panels:
        axes[0].set_ylabel("relative frequency", fontsize=8.5, color=INK)
        _legend(figure, axes[0])
    return png_bytes(figure)


def _panels(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    rows, columns = panel_rows_and_columns(count)
    side = min(WIDTH_INCHES / columns, 3.0)
    figure = Figure(figsize=(side * columns, side * height * rows + 0.35), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def _density(counts: Sequence[int]) -> FloatArray:
    found = np.asarray(counts, dtype=np.float64)
    return np.asarray(found * len(found) / max(found.sum(), 1.0))


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8.5, labelcolor=INK
    )
