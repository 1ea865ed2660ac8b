"""Panels side by side, named and styled alike."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from maps.report.panels import FRAME, name_panel, panel_rows_and_columns, style_panel


@pytest.mark.parametrize(("count", "expected"), [(0, (1, 1)), (1, (1, 1)), (4, (1, 4)), (5, (2, 4)), (9, (3, 4))])
def test_at_most_four_panels_stand_side_by_side(count: int, expected: tuple[int, int]) -> None:
    assert panel_rows_and_columns(count) == expected


def test_a_panel_has_its_name_and_lines_on_two_sides() -> None:
    axes = Figure().add_subplot()
    name_panel(axes, "Cost in $", "$ a year")
    style_panel(axes)
    assert (axes.get_title(loc="left"), axes.get_xlabel()) == ("Cost in $", "$ a year")
    assert not axes.xaxis.label.get_parse_math()
    assert [side for side, spine in axes.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert {to_hex(spine.get_edgecolor()) for spine in axes.spines.values()} == {FRAME}
