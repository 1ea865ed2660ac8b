"""Draw maps against references, and interval coverage against its nominal level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from maps.comparison.metrics import weighted_pearson
from maps.report.panels import COLOURS, FRAME, MARKERS, name_panel, panel_rows_and_columns, style_panel
from maps.report.render import INK, WIDTH_INCHES, natural_ticks, png_bytes, tick_text
from maps.report.typography import count_text, number_text

FloatArray = npt.NDArray[np.float64]

_HEXAGONS_FROM = 800
_ACCENT = "#1f5a7a"


@dataclass(frozen=True)
class ScatterPanel:
    """One map against one reference, both in natural units, cell by cell; NaN pairs are left out.

    Attributes:
        name: the map's name, set above the panel.
        map_values: any shape.
        reference_values: same shape.
        weights: cell areas or any other weights, same shape.
    """

    name: str
    map_values: FloatArray
    reference_values: FloatArray
    weights: FloatArray


def draw_scatter(panels: Sequence[ScatterPanel], *, reference: str, unit: str, log: bool) -> bytes:
    """Draw maps against one reference side by side, on common axes with the 1:1 line, as a PNG.

    Few cells are points, many are hexagons coloured by the number of cells. Each panel states the weighted
    correlation (of the logarithms under ``log``) and n.

    Args:
        panels: one per map, at most four are drawn per row.
        reference: the reference's name, for the vertical axis.
        unit: unit of both axes.
        log: logarithmic axes; pairs at or below zero are then left out.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    rows, columns = panel_rows_and_columns(len(panels))
    side = min(WIDTH_INCHES / columns, 3.3)
    figure = Figure(figsize=(side * columns + 0.25, side * rows + 0.1), layout="constrained")
    pairs = [_pairs(panel, log=log) for panel in panels]
    limits = _common_limits(pairs, log=log)
    for index, (panel, (x, y, weights)) in enumerate(zip(panels, pairs, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        name_panel(axes, panel.name, f"map ({unit})")
        if index % columns == 0:
            axes.set_ylabel(f"{reference} ({unit})", fontsize=8.5, color=INK, parse_math=False)
        axes.axline((limits[0], limits[0]), (limits[1], limits[1]), color=FRAME, linewidth=0.9, zorder=3)
        if x.size >= _HEXAGONS_FROM:
            window = np.log10(limits) if log else np.asarray(limits)
            axes.hexbin(
                x,
                y,
                gridsize=36,
                bins="log",
                mincnt=1,
                cmap=cm.oslo_r,
                linewidths=0,
                xscale="log" if log else "linear",
                yscale="log" if log else "linear",
                extent=(window[0], window[1], window[0], window[1]),
                zorder=2,
            )
        elif x.size:
            axes.scatter(x, y, s=9, color=_ACCENT, alpha=0.55, linewidths=0, zorder=2)
        _style_scatter(axes, limits, log=log)  # after hexbin, which resets the ticks of logarithmic axes
        r = weighted_pearson(np.log(x), np.log(y), weights) if log else weighted_pearson(x, y, weights)
        axes.text(
            0.04,
            0.96,
            f"r = {number_text(r)}\nn = {count_text(x.size)}",
            transform=axes.transAxes,
            va="top",
            fontsize=8.5,
            color=INK,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
    return png_bytes(figure)


def draw_reliability(coverage: Mapping[str, tuple[FloatArray, FloatArray]]) -> bytes:
    """Draw observed interval coverage against its nominal level, one line per trait, as a PNG.

    Args:
        coverage: trait name to (nominal level, observed coverage), both in 0 to 1; sorted by level here.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    figure = Figure(figsize=(4.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.plot((0, 1), (0, 1), color=FRAME, linewidth=0.9)
    for index, (name, (level, observed)) in enumerate(coverage.items()):
        order = np.argsort(level, kind="stable")
        axes.plot(
            level[order],
            observed[order],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.5,
            linewidth=1.4,
            color=COLOURS[index % len(COLOURS)],
            label=name,
        )
    style_panel(axes)
    axes.set_xlabel("nominal level of the interval", fontsize=9, color=INK)
    axes.set_ylabel("share of cells whose interval holds the truth", fontsize=9, color=INK)
    if coverage:
        legend = axes.legend(loc="upper left", frameon=False, fontsize=8.5, labelcolor=INK)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return png_bytes(figure)


def _pairs(panel: ScatterPanel, *, log: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    x, y, weights = (
        np.asarray(a, dtype=np.float64).ravel() for a in (panel.map_values, panel.reference_values, panel.weights)
    )
    keep = np.isfinite(x) & np.isfinite(y)
    if log:
        keep &= (np.nan_to_num(x) > 0) & (np.nan_to_num(y) > 0)
    return x[keep], y[keep], weights[keep]


def _common_limits(pairs: Sequence[tuple[FloatArray, FloatArray, FloatArray]], *, log: bool) -> tuple[float, float]:
    values = np.concatenate([np.concatenate(pair[:2]) for pair in pairs]) if pairs else np.empty(0)
    if values.size == 0:
        return (0.1, 10.0) if log else (0.0, 1.0)
    low, high = np.percentile(values, (0.2, 99.8))
    if log:
        return float(low) / 1.15, float(high) * 1.15
    pad = max(0.05 * float(high - low), 1e-9)
    return float(low) - pad, float(high) + pad


def _style_scatter(axes: Axes, limits: tuple[float, float], *, log: bool) -> None:
    if log:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(natural_ticks(*limits, most=6)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(tick_text))
    axes.set(xlim=limits, ylim=limits)
    axes.set_aspect("equal")
    style_panel(axes)
