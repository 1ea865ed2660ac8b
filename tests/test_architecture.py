"""The house: rooms import only what stands below them."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "data_catalog": set(),
    "plant_traits": {"data_catalog"},
    "maps": {"plant_traits", "data_catalog"},
    "tasks": {"maps", "plant_traits", "data_catalog"},
    "flows": {"tasks", "maps", "plant_traits", "data_catalog"},
}
NO_PREFECT = ("data_catalog", "plant_traits", "maps")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules, f"room {room} is empty"
    for path in modules:
        wrong = (imported(path) & set(MAY_IMPORT)) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}, which {room} may not"


def test_the_rooms_of_maps_import_each_other_one_way() -> None:
    maps, needs = ROOT / "maps", dict[str, set[str]]()
    for path in sorted(maps.glob("*/*.py")):
        room = path.parent.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("maps."):
                needs.setdefault(room, set()).add(str(node.module).split(".")[1])
    sorter = TopologicalSorter({room: below - {room} for room, below in needs.items()})
    assert set(sorter.static_order()) <= {path.name for path in maps.iterdir()}  # a circle raises CycleError


@pytest.mark.parametrize("room", NO_PREFECT)
def test_science_knows_no_prefect(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        assert "prefect" not in imported(path), f"{path.relative_to(ROOT)} imports prefect"


def test_flows_hold_no_loops_over_data() -> None:
    tree = ast.parse((ROOT / "flows" / "refresh.py").read_text(encoding="utf-8"))
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.ListComp)]
    assert not loops


def test_clients_never_import_the_simulation() -> None:
    for folder in ("sources", "observations", "covariates", "model", "taxa", "inference"):
        for path in sorted((ROOT / "plant_traits" / folder).rglob("*.py")):
            assert "plant_traits.simulation" not in path.read_text(encoding="utf-8"), path
