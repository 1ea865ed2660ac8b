"""How panels of figures look: their colours, the number side by side, their lines and their words."""

from __future__ import annotations

from matplotlib.axes import Axes

from maps.report.render import INK

GRID = "#d9dcdf"
FRAME = "#8b9196"
MOST_COLUMNS = 4
COLOURS = ("#1f5a7a", "#c2703d", "#4f7f3a", "#8a4f7d", "#7a6a2f", "#4b5563", "#a83a4a", "#2a8c82")
MARKERS = "osD^v<>P"


def panel_rows_and_columns(count: int) -> tuple[int, int]:
    """Return the rows and columns that a number of panels takes; none take the room of one."""
    columns = min(max(count, 1), MOST_COLUMNS)
    return -(-max(count, 1) // columns), columns


def name_panel(axes: Axes, title: str, horizontal: str) -> None:
    """Set a panel's name above it, and what it shows along its horizontal axis; neither is read as mathematics."""
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(horizontal, fontsize=8.5, color=INK, parse_math=False)


def style_panel(axes: Axes) -> None:
    """Give a panel a light grid behind what is drawn, small ticks, and lines on the left and below only."""
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK, length=2.5, width=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(edgecolor=FRAME, linewidth=0.6)
