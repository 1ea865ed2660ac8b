"""Readers of trait tables, by the reader id that run profiles use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_catalog import Trait
from plant_traits.errors import InputError
from plant_traits.sources.brot import read_brot
from plant_traits.sources.site_records import read_site_records
from plant_traits.sources.trait_records import TraitRecords
from plant_traits.sources.try_release import read_try_release

__all__ = ["TRAIT_READERS", "TraitReader", "TraitRecords", "read_traits"]

TraitReader = Callable[[Path, str, Sequence[Trait]], TraitRecords]

TRAIT_READERS: Mapping[str, TraitReader] = {
    "try-release": read_try_release,
    "brot": read_brot,
    "site-records": read_site_records,
}


def read_traits(reader: str, path: Path, source: str, traits: Sequence[Trait]) -> TraitRecords:
    """Read a trait table with the reader of that id.

    Raises:
        InputError: no such reader, or the file cannot be used (its subclasses say how).
    """
    if reader not in TRAIT_READERS:
        raise InputError(
            f"no trait reader is called {reader!r}; known readers: {', '.join(sorted(TRAIT_READERS))}. "
            "Correct `reader` in the profile's inputs"
        )
    return TRAIT_READERS[reader](path, source, traits)
