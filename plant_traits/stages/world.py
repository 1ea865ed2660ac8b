"""Stage: the virtual world of a run without real files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_catalog import Source, Trait, WorldSettings
from plant_traits.simulation.world import build_world
from plant_traits.steps import Summary


def simulate(
    destination: Path,
    *,
    settings: WorldSettings,
    traits: Sequence[Trait],
    sources: Mapping[str, Source],
    workers: int,
    progress: Callable[[int, int], None],
) -> Summary:
    """Build the world; see ``plant_traits.simulation.world.build_world`` for what lies in the folder."""
    counts = build_world(
        settings,
        traits,
        destination,
        sources=sources,
        workers=workers,
        progress=lambda _, finished, total: progress(finished, total),
    )
    return {"out": counts}
