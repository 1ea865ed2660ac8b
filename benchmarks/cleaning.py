"""How well cleaning finds what is wrong with records, how often it accuses good ones, and how fast it is.

Records of a virtual world, in which each kind of error was planted in known records and good records stand at places
that look wrong, go through every test. Precision and recall are told per test, as a Markdown table: recall is the share
of the planted records that the test finds; precision is the share of those planted for it among what it finds, records
that were spoilt in another way left out. Then the same
rows, repeated as other records, are cleaned to measure rows per second and memory. With a file of real occurrences as
second argument, what the tests find in it is counted.

    python benchmarks/cleaning.py 100000 [plant_occurrences_merged.parquet]
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from data_catalog import WorldSettings
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.observations.cleaning import clean, flagged_rows
from plant_traits.observations.effort import cap_effort
from plant_traits.observations.flags import FATAL, Flag
from plant_traits.observations.ledger import update_ledger
from plant_traits.observations.places import ReferencePlaces
from plant_traits.observations.reference_places import INSTITUTIONS, reference_places
from plant_traits.regions import Region
from plant_traits.simulation.dirt import plant_dirt
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.landmarks import institutions
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.planet import build_planet
from plant_traits.simulation.raw_dirt import spoil_rows
from plant_traits.simulation.records import draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.write_dwca import write_dwca
from plant_traits.sources.dwca import read_dwca
from plant_traits.sources.occurrences import read_occurrences
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE

SEED = 20
SPECIES = 300
OBSERVERS = 400
MONTH = Month(2026, 10)
EARTH = Region("earth", -180, -90, 180, 90)
KINDS = {
    Flag.AFTER_MONTH: ("future",),
    Flag.COORDINATE_MISSING: ("missing_coordinates",),
    Flag.COORDINATE_OUT_OF_RANGE: ("out_of_range",),
    Flag.COORDINATE_ZERO: ("zero_coordinates", "one_zero_coordinate"),
    Flag.COORDINATE_EQUAL: ("equal_coordinates",),
    Flag.NO_SPECIES: ("no_species",),
    Flag.BASIS_OF_RECORD: ("fossil", "living_specimen"),
    Flag.CAPTIVE: ("captive",),
    Flag.YEAR_EARLY: ("old",),
    Flag.UNCERTAINTY_LARGE: ("uncertain",),
    Flag.UNCERTAINTY_DEFAULT: ("default_uncertainty",),
    Flag.GBIF_HEADQUARTERS: ("gbif_headquarters",),
    Flag.COUNTRY_CENTROID: ("centroid",),
    Flag.PROVINCE_CENTROID: ("province_centroid",),
    Flag.CAPITAL: ("capital",),
    Flag.INSTITUTION: ("institution",),
    Flag.SEA: ("sea",),
    Flag.REPEATED_RECORD: ("repeated_record",),
    Flag.REPEATED_PHOTO: ("repeated_photo",),
    Flag.DUPLICATE: ("duplicate",),
    Flag.DATE_MISSING: ("date_missing",),
    Flag.SPECIES_OUTLIER: ("outlier",),
}

# What two rows have in common of which one is to be found.
PAIRS = {Flag.DUPLICATE: "sighting", Flag.REPEATED_RECORD: "row", Flag.REPEATED_PHOTO: "row"}


def dirty_records(photos: int, folder: Path) -> tuple[pd.DataFrame, ReferencePlaces]:
    """Make the records of a virtual world, with what is wrong with each in ``planted`` and ``innocent``."""
    settings = WorldSettings(seed=SEED, photos=photos, species=SPECIES, observers=OBSERVERS)
    planet = build_planet(SEED)
    flora = build_flora(SEED, planet, SPECIES)
    cities = build_cities(stream(SEED, "cities"), OBSERVERS)
    observers = build_observers(SEED, cities, OBSERVERS)
    sightings = plant_dirt(SEED, draw_sightings(settings, planet, flora, cities, observers, []), flora)
    keys = write_dwca(sightings, flora, folder)["occurrenceID"].to_numpy()
    seen = sightings.records
    same = seen.groupby(["observer", "date", "true_latitude", "true_longitude", "true_species_index"]).ngroup()
    truth = seen[["planted", "innocent"]].assign(sighting=same).set_axis(keys)
    raw = read_dwca(next(folder.glob("*.zip")), "gbif").reset_index(drop=True)
    truth = truth.loc[raw["occurrence_id"]].reset_index(drop=True)
    alone = ~truth["sighting"].isin(truth.loc[truth["planted"] == "duplicate", "sighting"])
    spoilt = spoil_rows(SEED, raw, (truth["planted"] == "none") & alone & raw["photo_id"].notna())
    stated = truth.loc[spoilt["row"]].reset_index(drop=True)
    spoilt["planted"] = spoilt["planted"].mask(spoilt["planted"] == "none", stated["planted"])
    spoilt["innocent"] = stated["innocent"].where(spoilt["planted"] == "none", "none")
    spoilt["sighting"] = stated["sighting"]
    institutions(SEED).to_parquet(folder / INSTITUTIONS, index=False)
    return spoilt, reference_places(folder)


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Score every test against what was planted: columns test, costs the record, planted, found, recall, precision."""
    table = []
    for flag, kinds in KINDS.items():
        found = (rows["flags"] & int(flag)) != 0
        wrong = rows["planted"].isin(kinds)
        good = rows["planted"] == "none"
        if flag in PAIRS:
            # Of two that say the same, either may be the one that is found: a pair counts as found once.
            pair = rows[PAIRS[flag]]
            recall = pair[wrong].isin(pair[found]).mean()
            right = pair.isin(pair[wrong])
        else:
            recall, right = found[wrong].mean(), wrong
        judged = found & (good | right)
        table.append(
            {
                "test": str(flag.name).lower(),
                "costs the record": "yes" if flag & FATAL else "no",
                "planted": int(wrong.sum()),
                "found": int(found.sum()),
                "recall": recall,
                "precision": right[judged].mean(),
            }
        )
    return pd.DataFrame(table)


def innocents(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell what became of good records at places that look wrong: columns kind, records, dropped, flagged."""
    good = rows[rows["planted"] == "none"]
    dropped = (good["flags"] & int(FATAL)) != 0
    kinds = good.assign(dropped=dropped, flagged=~dropped & (good["flags"] != 0)).groupby("innocent")
    table = kinds.agg(records=("flags", "size"), dropped=("dropped", "mean"), flagged=("flagged", "mean"))
    return table.rename_axis("good records").reset_index()


def markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown, shares with three decimals."""
    texts = table.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value))
    lines = [list(table.columns), ["---"] * table.shape[1], *texts.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed(rows: pd.DataFrame, places: ReferencePlaces, count: int) -> str:
    """Clean ``count`` rows, those given under new names as often as it takes."""
    times = -(-count // len(rows))
    parts = []
    for k in range(times):
        part = rows[RAW_OCCURRENCE.names].copy()
        part["occurrence_id"] += f"-{k}"
        part["photo_id"] += f"-{k}"
        part["latitude"] += 1e-4 * k  # other places, so that they are no duplicates
        parts.append(part)
    raw = pd.concat(parts, ignore_index=True).iloc[:count]
    del parts
    before = _peak_mib()
    start = time.perf_counter()
    sorted_once = raw.sort_values(["occurrence_id", "photo_id"]).drop_duplicates(["occurrence_id", "photo_id"])
    baseline = time.perf_counter() - start
    del sorted_once
    start = time.perf_counter()
    found = clean(raw, month=MONTH, region=EARTH, salt="benchmark", places=places)
    seconds = time.perf_counter() - start
    peak = _peak_mib()
    kept = found.observations
    start = time.perf_counter()
    ledger = update_ledger(update_ledger(None, kept, MONTH), kept, MONTH.next, largest_drop=0.2)
    ledger_seconds = (time.perf_counter() - start) / 2
    start = time.perf_counter()
    _, left_out = cap_effort(kept, 5, Grid.parse("1deg"))
    cap_seconds = time.perf_counter() - start
    return (
        f"{len(raw):,} rows in {seconds:.1f} s: {len(raw) / seconds:,.0f} rows/s, {seconds / baseline:.1f} times what "
        f"pandas takes to sort them by record and drop repetitions; peak memory {peak:,.0f} MiB, of which "
        f"{before:,.0f} MiB before cleaning; kept {len(kept):,}. A ledger of {len(ledger):,} brought up to date in "
        f"{ledger_seconds:.1f} s; at most 5 photos per observer, species, day and degree cell: {left_out:,} left out "
        f"in {cap_seconds:.1f} s"
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def real(path: Path) -> str:
    """Count what the tests find in real records without dates and observers."""
    raw = read_occurrences("coordinates-parquet", path, "merged-occurrences")
    start = time.perf_counter()
    found = clean(raw, month=MONTH, region=EARTH, salt="benchmark", places=reference_places())
    seconds = time.perf_counter() - start
    table = (
        pd.DataFrame({"rows found": found.found, "dropped as the first reason": found.dropped}).fillna(0).astype(int)
    )
    order = [str(flag.name).lower() for flag in Flag if str(flag.name).lower() in table.index]
    head = f"{found.counts_in:,} rows, {len(found.observations):,} kept, {seconds:.1f} s"
    return f"{head}\n\n{markdown(table.loc[order].rename_axis('test').reset_index())}"


def main(photos: str = "100000", occurrences: str | None = None) -> None:
    """Print all tables."""
    with TemporaryDirectory() as folder:
        rows, places = dirty_records(int(photos), Path(folder))
    tested = flagged_rows(rows, month=MONTH, region=EARTH, salt="benchmark", places=places).reset_index(drop=True)
    clean_anyway = (tested["planted"].isin(["none", "misidentified"])).mean()
    print(f"{len(rows):,} rows, {1 - clean_anyway:.1%} of them spoilt in a way that a test looks for\n")
    print(markdown(scores(tested)), end="\n\n")
    print(markdown(innocents(tested)), end="\n\n")
    print(speed(rows, places, 1_000_000))
    if occurrences is not None:
        print("\n" + real(Path(occurrences)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
