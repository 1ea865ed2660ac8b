"""Stage: all occurrence records, cleaned, keyed, deduplicated and entered in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pandas as pd

from plant_traits.errors import InputError
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.observations.cleaning import clean
from plant_traits.observations.effort import BEYOND_CAP, cap_effort, records_beyond_cap, target_group_effort
from plant_traits.observations.ledger import ledger_changes, update_ledger
from plant_traits.observations.pieces import join_pieces
from plant_traits.observations.reference_places import reference_places
from plant_traits.regions import Area
from plant_traits.schemas import EFFORT_RECORD, LEDGER, OBSERVATION, read_table, write_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.occurrences import read_occurrences
from plant_traits.sources.raw_occurrence import concatenated
from plant_traits.stages.names import with_accepted_names
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_form_of, read_growth_forms

CHANGES = ("added", "returned")  # what the ledger's states do not tell
EFFORT_GRID = Grid(Fraction(1))


@dataclass(frozen=True)
class ObservationLimits:
    """What a run lets through.

    Attributes:
        photos_per_observer_day: most photos of a species by one observer on one day in one cell of 1 degree; None
            lets all through.
        largest_drop: share of a source's records that may disappear from one month to the next.
        may_shrink: sources of which more may disappear.
    """

    photos_per_observer_day: int | None = 5
    largest_drop: float = 0.2
    may_shrink: Collection[str] = ()


def build_observations(
    destination: Path,
    *,
    root: Path,
    inputs: InputSet,
    taxa: Path,
    month: Month,
    region: Area,
    salt: str,
    previous_ledger: Path | None,
    names: Path | None = None,
    accepted: Collection[str] = (),
    limits: ObservationLimits | None = None,
) -> Summary:
    """Write ``observations.parquet``, ``ledger.parquet`` and ``effort.parquet`` (all plant records by 1° cell).

    Records of which the cap on an observer's day keeps nothing go to ``beyond_cap.parquet``: they count as effort.

    Args:
        destination: an empty folder.
        root: the run's data folder.
        inputs: the run's inputs.
        taxa: output of ``summarise_taxa``; gives species their growth form.
        month: the month of the run.
        region: records outside it do not take part, whichever piece holds them.
        salt: secret of the installation; observers' names are hashed with it.
        previous_ledger: the ledger of the run before, where there is one.
        names: output of ``keep_answers``, or None where no taxonomy was asked.
        accepted: sources whose names are the taxonomy's own.
        limits: what is let through; the defaults where not given.

    Returns:
        Counts in, out and lost, by reason.

    Raises:
        InputError: an occurrence file cannot be read, a source lost more records than may disappear in a month, or no
            record is left.
    """
    limits = limits or ObservationLimits()
    frames: dict[str, list[pd.DataFrame]] = {}
    read: Counter[str] = Counter()
    for record in inputs.of("occurrences"):
        frame = read_occurrences(record.reader, root / record.path, record.source)
        if record.source not in accepted:
            frame, _ = with_accepted_names(frame, names)
        frames.setdefault(record.source, []).append(frame)
        read[f"rows of {record.source}"] += len(frame)
    joined = {source: join_pieces(parts) for source, parts in frames.items()}
    at_borders = sum(n for _, n in joined.values())
    raw = concatenated([frame for parts, _ in joined.values() for frame in parts])
    folders = [root / record.path for record in inputs.of("reference")]
    places = reference_places(folders[0] if folders else None)
    cleaned = clean(raw, month=month, region=region, salt=salt, places=places)
    if cleaned.observations.empty:
        raise InputError(
            f"no record of a plant is left of the {cleaned.counts_in} read for the region until {month} (lost: "
            f"{cleaned.dropped or 'none'}); choose a larger region or another month"
        )
    forms = read_growth_forms(taxa)
    observations = cleaned.observations.assign(growth_form=growth_form_of(cleaned.observations, forms))
    previous = None if previous_ledger is None else read_table(previous_ledger, LEDGER)
    ledger = update_ledger(
        previous, observations, month, largest_drop=limits.largest_drop, may_shrink=limits.may_shrink
    )
    changes = ledger_changes(previous, ledger)
    effort = target_group_effort(observations, EFFORT_GRID)
    kept, crowded = cap_effort(observations, limits.photos_per_observer_day, EFFORT_GRID)
    write_table(records_beyond_cap(observations, kept), destination / BEYOND_CAP, EFFORT_RECORD)
    observations = kept
    effort.to_parquet(destination / "effort.parquet", index=False)
    write_table(observations, destination / "observations.parquet", OBSERVATION)
    write_table(ledger, destination / "ledger.parquet", LEDGER)
    return {
        "in": dict(read),
        "out": {
            "observations": len(observations),
            "with a photo": int(observations["photo_id"].notna().sum()),
            "species": int(observations["species"].nunique()),
            "observers": int(observations["observer"].nunique()),
            **{f"ledger: {state}": int(n) for state, n in ledger["state"].value_counts().sort_index().items()},
            **{
                f"since the month before: {kind}": len(getattr(changes, kind))
                for kind in CHANGES
                if previous is not None
            },
        },
        "lost": dict(cleaned.dropped)
        | ({"photos beyond an observer's share": crowded} if crowded else {})
        | ({"rows that two pieces of a region hold": at_borders} if at_borders else {}),
        "found": dict(cleaned.found),
        "flagged": dict(cleaned.flagged),
        "places": dict(cleaned.origins),
        "not tested": list(cleaned.not_tested),
    }
