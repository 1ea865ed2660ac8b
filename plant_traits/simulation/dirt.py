"""Plant the errors that real records have, each kind in known records, so that cleaning can be scored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.flora import Flora
from plant_traits.simulation.geography import centroids, is_land
from plant_traits.simulation.landmarks import capitals, institutions, near, province_centres, random_land
from plant_traits.simulation.records import SECOND_DATASET, Sightings
from plant_traits.simulation.seeds import stream

IntArray = npt.NDArray[np.int64]

SHARES = {
    "misidentified": 0.08,
    "duplicate": 0.02,
    "captive": 0.02,
    "uncertain": 0.02,
    "sea": 0.01,
    "centroid": 0.01,
    "missing_coordinates": 0.01,
    "zero_coordinates": 0.005,
    "old": 0.005,
    "future": 0.002,
    "one_zero_coordinate": 0.002,
    "equal_coordinates": 0.003,
    "gbif_headquarters": 0.002,
    "province_centroid": 0.004,
    "fossil": 0.003,
    "living_specimen": 0.003,
}
# What may be wrong and need not be: noted, and not dropped.
SUSPECT_SHARES = {"capital": 0.004, "institution": 0.003, "default_uncertainty": 0.005, "outlier": 0.005}


def plant_dirt(
    seed: int, sightings: Sightings, flora: Flora, misidentified: float = SHARES["misidentified"]
) -> Sightings:
    """Spoil a share of the records, at least one of each kind of both tables and each record in one way only.

    The kind is kept in the column ``planted``. Duplicates are appended: the same plant, place, day, observer and
    picture under a new identifier in another dataset.

    Args:
        seed: of the world.
        sightings: records without errors.
        flora: the world's species.
        misidentified: share of the records that get a wrong name.
    """
    rng = stream(seed, "dirt")
    records = sightings.records.copy()
    order = rng.permutation(len(records))
    taken = 0
    chosen: dict[str, IntArray] = {}
    for kind, share in (SHARES | SUSPECT_SHARES | {"misidentified": misidentified}).items():
        size = max(1, round(share * len(records)))
        chosen[kind] = np.sort(order[taken : taken + size])
        taken += size
        records.loc[chosen[kind], "planted"] = kind
    rows = chosen["misidentified"]
    records.loc[rows, "stated_species_index"] = lookalikes(rng, records.loc[rows], flora)
    records.loc[chosen["captive"], "cultivated"] = True
    records.loc[chosen["uncertain"], "uncertainty_m"] = rng.choice(
        [15000.0, 28000.0, 60000.0], chosen["uncertain"].size
    )
    records.loc[chosen["missing_coordinates"], ["latitude", "longitude", "uncertainty_m"]] = np.nan
    records.loc[chosen["zero_coordinates"], ["latitude", "longitude"]] = 0.0
    size = chosen["old"].size
    records.loc[chosen["old"], "date"] = np.datetime64("1899-06-30") - rng.integers(0, 8000, size)
    label = centroids()
    pick = rng.integers(0, len(label), chosen["centroid"].size)
    records.loc[chosen["centroid"], "latitude"] = label["latitude"].to_numpy()[pick]
    records.loc[chosen["centroid"], "longitude"] = label["longitude"].to_numpy()[pick]
    sea = _open_sea(rng, chosen["sea"].size)
    records.loc[chosen["sea"], "latitude"], records.loc[chosen["sea"], "longitude"] = sea
    _misplace(seed, records, chosen)
    records.loc[chosen["fossil"], "basis"] = "FOSSIL_SPECIMEN"
    records.loc[chosen["living_specimen"], "basis"] = "LIVING_SPECIMEN"
    return _append_duplicates(rng, records, sightings.photos, chosen["duplicate"])


def _misplace(seed: int, records: pd.DataFrame, chosen: dict[str, IntArray]) -> None:
    """Write down wrong places, dates and uncertainties, in place."""
    rng = stream(seed, "more dirt")
    garden = institutions(seed)[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    headquarters = np.array([[55.67, 12.58]])
    for kind, places, km in (
        ("gbif_headquarters", headquarters, 0.9),
        ("province_centroid", province_centres(), 0.2),
        ("capital", capitals(), 8.0),
        ("institution", garden, 0.08),
    ):
        rows = chosen[kind]
        records.loc[rows, "latitude"], records.loc[rows, "longitude"] = near(rng, places, rows.size, 0.0, km)
    rows = chosen["one_zero_coordinate"]
    records.loc[rows[::2], "latitude"] = 0.0
    records.loc[rows[1::2], "longitude"] = 0.0
    rows = chosen["equal_coordinates"]
    records.loc[rows, "longitude"] = records.loc[rows, "latitude"] * rng.choice([-1.0, 1.0], rows.size)
    rows = chosen["future"]
    records.loc[rows, "date"] = np.datetime64("2027-01-15") + rng.integers(0, 300, rows.size)
    rows = chosen["default_uncertainty"]
    records.loc[rows, "uncertainty_m"] = rng.choice([301.0, 3036.0, 999.0, 9999.0], rows.size)
    rows = chosen["outlier"]
    records.loc[rows, "latitude"], records.loc[rows, "longitude"] = _far_away(rng, records.loc[rows])


def _far_away(
    rng: np.random.Generator, records: pd.DataFrame
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Choose, of thirty places on land, the one farthest from where the plant stood."""
    latitude, longitude = (values.reshape(-1, 30) for values in random_land(rng, 30 * len(records)))
    here, there = np.deg2rad(records[["true_latitude", "true_longitude"]].to_numpy()), np.deg2rad([latitude, longitude])
    cosine = np.sin(here[:, :1]) * np.sin(there[0]) + np.cos(here[:, :1]) * np.cos(there[0]) * np.cos(
        here[:, 1:] - there[1]
    )
    pick = np.arange(len(records)), cosine.argmin(axis=1)
    return latitude[pick], longitude[pick]


def lookalikes(rng: np.random.Generator, wrong: pd.DataFrame, flora: Flora) -> IntArray:
    """Return for records the row of another species than the true one: of its genus, else family, else growth form."""
    table = flora.species
    true = wrong["true_species_index"].to_numpy()
    rank = [table[column].to_numpy() for column in ("form", "family_index", "genus_index")]
    out = np.empty(true.size, dtype=np.int64)
    for k, species in enumerate(true):
        score = sum((codes == codes[species]).astype(np.int64) for codes in rank)
        score[species] = -1
        best = np.flatnonzero(score == score.max())
        out[k] = rng.choice(best)
    return out


def _open_sea(rng: np.random.Generator, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    latitude = rng.uniform(-55, 60, 60 * count + 200)
    longitude = rng.uniform(-178, 178, latitude.size)
    steps = [(0.0, 0.0), *((a, b) for a in (-2.0, 0.0, 2.0) for b in (-2.0, 0.0, 2.0))]
    dry = np.any([is_land(latitude + a, longitude + b) for a, b in steps], axis=0)
    near_origin = (np.abs(latitude) < 5) & (np.abs(longitude) < 5)
    good = np.flatnonzero(~dry & ~near_origin)[:count]
    return latitude[good].round(5), longitude[good].round(5)


def _append_duplicates(
    rng: np.random.Generator, records: pd.DataFrame, photos: pd.DataFrame, originals: IntArray
) -> Sightings:
    records.loc[originals, "planted"] = "none"
    copies = records.loc[originals].copy()
    copies["planted"] = "duplicate"
    copies["dataset_key"] = SECOND_DATASET
    copies["number"] = int(records["number"].max()) + 1 + np.arange(originals.size)
    first = photos.drop_duplicates("record").set_index("record")["copy_of"]
    last = int(photos["photo_id"].max())
    new = pd.DataFrame(
        {
            "photo_id": last + np.cumsum(rng.integers(3, 90, originals.size)),
            "record": len(records) + np.arange(originals.size),
            "copy_of": first.loc[originals.tolist()].to_numpy(),
        }
    )
    return Sightings(
        records=pd.concat([records, copies], ignore_index=True), photos=pd.concat([photos, new], ignore_index=True)
    )
