"""Draw how a training went epoch by epoch, and how variants of a model compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maps.report.panels import COLOURS, GRID, MARKERS, name_panel, panel_rows_and_columns, style_panel
from maps.report.render import INK, WIDTH_INCHES, png_bytes
from maps.report.typography import number_text

REFIT = "refit"
"""The round that fits all records again; what it is checked on it has also seen."""

_SOFT = "#5d666e"


@dataclass(frozen=True)
class VariantPanel:
    """Scores of variants for one trait.

    Attributes:
        name: the trait, set above the panel.
        scores: label of a variant to its score, NaN where it has none; the same labels in every panel.
        baseline: a score to be marked by a line, or None.
    """

    name: str
    scores: Mapping[str, float]
    baseline: float | None


def draw_learning_curves(curves: pd.DataFrame, trait_names: Mapping[str, str]) -> bytes:
    """Draw loss and held-out correlation by epoch as a PNG, a row of two panels for each round of training.

    On the left every member's loss and held-out loss, with its best epoch marked; on the right the held-out
    correlation of each trait, the mean of the members with their range. A round that fits all records again holds
    nothing out: its loss is drawn beside that of the round before.

    Args:
        curves: ``member``, ``round``, ``epoch``, ``loss``, ``held_out_loss``, ``trait`` and ``pearson_r``, one row per
            member, round, epoch and trait.
        trait_names: display name by trait id, in display order.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    rounds = [name for name in dict.fromkeys(curves["round"].astype(str)) if name != REFIT] or [REFIT]
    figure = Figure(figsize=(WIDTH_INCHES, 3.3 * len(rounds)), layout="constrained")
    again = curves[curves["round"].astype(str) == REFIT]
    for row, name in enumerate(rounds):
        of_round = curves[curves["round"].astype(str) == name]
        words = "" if len(rounds) == 1 else f", round {name}"
        left, right = (figure.add_subplot(len(rounds), 2, 2 * row + column) for column in (1, 2))
        last = row == len(rounds) - 1
        _losses(left, of_round, again if last and name != REFIT else again.iloc[:0])
        _style_epochs(left, f"Loss{words}", "mean negative log-likelihood")
        _correlations(right, of_round, trait_names)
        _style_epochs(right, f"Correlation with held-out records{words}", "r")
        left.legend(frameon=False, fontsize=8, labelcolor=INK)
        _plain_legend(right)
    return png_bytes(figure)


def draw_variants(panels: Sequence[VariantPanel], *, score: str, baseline: str) -> bytes:
    """Draw one score of each variant as dots, a panel for each trait side by side, as a PNG.

    Args:
        panels: one per trait.
        score: what the horizontal axis shows.
        baseline: what the line of a panel's baseline is, for the legend.

    Returns:
        PNG bytes, the same for the same arguments.
    """
    labels = list(panels[0].scores) if panels else []
    rows, columns = panel_rows_and_columns(len(panels))
    height = (0.3 * max(len(labels), 1) + 0.85) * rows + 0.3
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    finite = [x for panel in panels for x in (*panel.scores.values(), panel.baseline) if x is not None]
    finite = [x for x in finite if np.isfinite(x)] or [0.0, 1.0]
    low, high = min(0.0, *finite), max(finite)
    pad = 0.06 * (high - low or 1.0)
    marked = False
    for index, panel in enumerate(panels):
        place = figure.add_subplot(rows, columns, index + 1)
        at = np.arange(len(labels))[::-1]
        values = np.array([panel.scores[label] for label in labels], dtype=np.float64)
        place.hlines(at, low - pad, high + pad, color=GRID, linewidth=0.8, zorder=1)
        if panel.baseline is not None and np.isfinite(panel.baseline):
            label = None if marked else baseline
            place.axvline(panel.baseline, color=COLOURS[1], linewidth=1.4, linestyle="--", zorder=2, label=label)
            marked = True
        place.scatter(values, at, s=30, color=COLOURS[0], zorder=3)
        for value, line in zip(values, at, strict=True):
            if np.isfinite(value):
                right = value > low + 0.75 * (high - low)
                place.annotate(
                    number_text(float(value)),
                    (value, line),
                    xytext=(-6 if right else 6, 0),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    va="center",
                    fontsize=7.5,
                    color=INK,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
                    zorder=2.5,
                )
        place.set(xlim=(low - pad, high + pad), ylim=(-0.6, len(labels) - 0.4))
        place.set_yticks(at, labels=labels if index % columns == 0 else [""] * len(labels))
        name_panel(place, panel.name, score)
        style_panel(place)
        place.grid(visible=False, axis="y")
        place.tick_params(axis="y", length=0)
        for text in place.get_yticklabels():
            text.set_parse_math(False)
    if marked:
        figure.legend(loc="outside lower center", frameon=False, fontsize=8.5, labelcolor=INK)
    return png_bytes(figure)


def _losses(axes: Axes, curves: pd.DataFrame, again: pd.DataFrame) -> None:
    epochs = curves.drop_duplicates(["member", "epoch"])
    for index, (member, of_member) in enumerate(epochs.groupby("member", sort=True)):
        colour = COLOURS[index % len(COLOURS)]
        first = index == 0
        axes.plot(of_member["epoch"], of_member["loss"], color=colour, linewidth=1, linestyle=":",
                  label="fitted records" if first else None)  # fmt: skip
        held = of_member["held_out_loss"].to_numpy(dtype=np.float64)
        if np.isfinite(held).any():
            axes.plot(of_member["epoch"], held, color=colour, linewidth=1.3,
                      label="held-out records" if first else None)  # fmt: skip
            best = int(np.nanargmin(held))
            axes.scatter(of_member["epoch"].iloc[best], held[best], s=34, color=colour, edgecolors="white",
                         linewidths=0.8, zorder=4, label="best epoch of a member" if first else None)  # fmt: skip
        afresh = again[again["member"] == member].drop_duplicates("epoch")
        if len(afresh):
            axes.plot(afresh["epoch"], afresh["loss"], color="#a7aeb4", linewidth=0.9, zorder=1,
                      label="fitted again, all records" if first else None)  # fmt: skip


def _correlations(axes: Axes, curves: pd.DataFrame, trait_names: Mapping[str, str]) -> None:
    for index, (trait, name) in enumerate(trait_names.items()):
        of_trait = curves[(curves["trait"] == trait) & np.isfinite(curves["pearson_r"].astype(np.float64))]
        if of_trait.empty:
            continue
        by_epoch = of_trait.groupby("epoch", sort=True)["pearson_r"].agg(["mean", "min", "max"])
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(by_epoch.index, by_epoch["min"], by_epoch["max"], color=colour, alpha=0.14, linewidth=0)
        axes.plot(
            by_epoch.index,
            by_epoch["mean"],
            color=colour,
            linewidth=1.4,
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.2,
            markevery=max(len(by_epoch) // 10, 1),
            label=name,
        )


def _plain_legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        for text in axes.legend(frameon=False, fontsize=8, labelcolor=INK).get_texts():
            text.set_parse_math(False)


def _style_epochs(axes: Axes, title: str, vertical: str) -> None:
    name_panel(axes, title, "epoch")
    axes.set_ylabel(vertical, fontsize=8.5, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_panel(axes)
