"""The months after a world's first: records that are added, changed and retracted, and what is published by each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import WorldSettings
from plant_traits.month import Month
from plant_traits.simulation.dirt import lookalikes
from plant_traits.simulation.flora import Flora
from plant_traits.simulation.geography import Cities, is_land
from plant_traits.simulation.observers import Observers
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.records import LICENCES, Sightings, draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel

IntArray = npt.NDArray[np.int64]

CHANGES = ("place", "name", "licence")
_CHANGE_SHARES = (0.4, 0.4, 0.2)
_MOVED_KM = (0.3, 6.0)
_LATE = 0.3  # share of the added records that were observed long before they were published
_KM_PER_DEGREE = 111.2
_APART = 1_000_000  # between the numbers of the records and photos of two months, and more in a larger world
_FIRST_PHOTO = 400_000_000


@dataclass(frozen=True)
class LaterMonth:
    """What is published by the end of a month, and what came about in it.

    Attributes:
        month: the month.
        published: all records and photos of that time, which photo repeats another left out; ``number`` of a record is
            the same in every month.
        added: those that appeared in this month.
        changes: month, kind (added, changed, retracted), number, and what changed: one of ``CHANGES``, else empty.
    """

    month: Month
    published: Sightings
    added: Sightings
    changes: pd.DataFrame


def later_months(
    settings: WorldSettings,
    planet: Planet,
    flora: Flora,
    cities: Cities,
    observers: Observers,
    models: list[TraitModel],
    first: Sightings,
) -> list[LaterMonth]:
    """Let a world's records change month by month, each change in a share of ``monthly_change`` of the first ones.

    Records are added by the same observers, most of them seen in the month itself; changed ones get another place (some
    hundred metres to some kilometres away, or the true one where it was wrong), another name (the true one where it was
    wrong, else that of a species alike) or another licence; retracted ones vanish. What was added can be changed or
    retracted later. Nothing changes in the first month.

    Args:
        settings: seed, months and share.
        planet: of the world.
        flora: of the world.
        cities: of the world.
        observers: of the world.
        models: the traits of the plants.
        first: what is published by the end of the first month.

    Returns:
        One entry a month, in order.
    """
    count = round(settings.monthly_change * len(first.records))
    if settings.monthly_change > 0:
        count = max(1, count)
    apart = max(_APART, 10 * len(first.records))
    month, now, out = Month.parse(settings.first_month), first, []
    for ahead in range(1, settings.later_months + 1):
        month = month.next
        rng = stream(settings.seed, "months", ahead)
        added = _added(rng, settings, planet, flora, cities, observers, models, month, count)
        added.records["number"] = ahead * apart + np.arange(len(added.records))
        added.photos["photo_id"] += _FIRST_PHOTO + 100 * ahead * apart
        order = rng.permutation(len(now.records))
        changed, retracted = np.sort(order[:count]), np.sort(order[count : 2 * count])
        records = now.records.copy()
        what = _change(rng, records, changed, flora)
        records.loc[changed, "interpreted"] = str(month)
        changes = pd.DataFrame(
            {
                "month": str(month),
                "kind": np.repeat(["added", "changed", "retracted"], [len(added.records), count, count]),
                "number": np.concatenate(
                    [added.records["number"], records["number"].to_numpy()[np.concatenate([changed, retracted])]]
                ),
                "what": np.concatenate([np.full(len(added.records), ""), what, np.full(count, "")]),
            }
        )
        now = _joined(_without(replace(now, records=records), retracted), added)
        out.append(LaterMonth(month, now, added, changes))
    return out


def _added(
    rng: np.random.Generator,
    settings: WorldSettings,
    planet: Planet,
    flora: Flora,
    cities: Cities,
    observers: Observers,
    models: list[TraitModel],
    month: Month,
    count: int,
) -> Sightings:
    """Draw the records of a month: seen in it or, where uploaded late, before; some are misnamed."""
    more = settings.model_copy(update={"photos": 2 * count + 10})
    drawn = draw_sightings(more, planet, flora, cities, observers, models, sample=("months", str(month)))
    records = drawn.records.iloc[:count].copy()
    last = np.datetime64(month.next.first_day) - 1
    late = rng.random(count) < _LATE
    days = np.where(late, rng.integers(60, 900, count), rng.integers(0, 28, count))
    records["date"] = last - days
    records["interpreted"] = str(month)
    wrong = np.flatnonzero(rng.random(count) < settings.misidentified)
    records.loc[wrong, "planted"] = "misidentified"
    records.loc[wrong, "stated_species_index"] = lookalikes(rng, records.loc[wrong], flora)
    photos = drawn.photos[drawn.photos["record"] < count].reset_index(drop=True)
    return Sightings(records, photos.assign(photo_id=np.cumsum(rng.integers(3, 90, len(photos)))))


def _change(rng: np.random.Generator, records: pd.DataFrame, rows: IntArray, flora: Flora) -> npt.NDArray[np.str_]:
    """Change records in place and say what changed in each."""
    what = rng.choice(CHANGES, rows.size, p=_CHANGE_SHARES)
    what[(what == "place") & records["latitude"].iloc[rows].isna().to_numpy()] = "name"
    _move(rng, records, rows[what == "place"])
    chosen = records.iloc[rows[what == "name"]]
    other = lookalikes(rng, chosen, flora)
    right = (chosen["stated_species_index"] == chosen["true_species_index"]).to_numpy()
    records.loc[chosen.index, "stated_species_index"] = np.where(right, other, chosen["true_species_index"])
    chosen = records.iloc[rows[what == "licence"]]
    step = rng.integers(1, len(LICENCES), len(chosen))
    codes = pd.Index(LICENCES).get_indexer(pd.Index(chosen["licence"]))
    records.loc[chosen.index, "licence"] = np.array(LICENCES)[(codes + step) % len(LICENCES)]
    return what


def _move(rng: np.random.Generator, records: pd.DataFrame, rows: IntArray) -> None:
    """Correct stated places: to the true one where they were far off, else by a short way, on land where possible."""
    stated = records.iloc[rows][["latitude", "longitude"]].to_numpy(np.float64)
    true = records.iloc[rows][["true_latitude", "true_longitude"]].to_numpy(np.float64)
    wrong = (np.abs(stated - true) > 0.01).any(axis=1)
    km = rng.uniform(*_MOVED_KM, (rows.size, 1))
    bearing = rng.uniform(0, 2 * np.pi, (rows.size, 12))
    latitude = stated[:, :1] + km / _KM_PER_DEGREE * np.cos(bearing)
    longitude = stated[:, 1:] + km / _KM_PER_DEGREE * np.sin(bearing) / np.cos(np.deg2rad(stated[:, :1]))
    pick = np.arange(rows.size), is_land(latitude, longitude).argmax(axis=1)
    moved = np.column_stack([latitude[pick], longitude[pick]])
    records.loc[rows, ["latitude", "longitude"]] = np.where(wrong[:, None], true, moved).round(6)


def _without(sightings: Sightings, rows: IntArray) -> Sightings:
    """Take records and their photos out; photos that repeated theirs stay, and repeat themselves."""
    kept = np.ones(len(sightings.records), dtype=bool)
    kept[rows] = False
    place = np.cumsum(kept) - 1
    photos = sightings.photos[kept[sightings.photos["record"]]]
    photos = photos.assign(record=place[photos["record"]], copy_of=np.arange(len(photos))).reset_index(drop=True)
    return Sightings(sightings.records[kept].reset_index(drop=True), photos)


def _joined(before: Sightings, added: Sightings) -> Sightings:
    new = added.photos.assign(
        record=added.photos["record"] + len(before.records), copy_of=added.photos["copy_of"] + len(before.photos)
    )
    return Sightings(
        pd.concat([before.records, added.records], ignore_index=True),
        pd.concat([before.photos, new], ignore_index=True),
    )
