"""Records that lie far from all others of their species."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.observations.places import EARTH_RADIUS_M, unit_vectors

FEWEST_PLACES = 7
SPREAD = 5.0
_MOST_REFERENCES = 400


def species_outliers(species: pd.Series, latitude: pd.Series, longitude: pd.Series) -> npt.NDArray[np.bool_]:
    """Tell which records lie farther from their species' places than Q3 + 5 IQR of such distances.

    A record's distance is the mean great-circle distance to the distinct places of its species; species with fewer than
    seven places are not judged. For species with more than 400 places, the distance is taken to 400 of them, spread
    evenly over the places in order, so that it grows with the number of records and not with its square.

    Args:
        species: canonical names, null never an outlier.
        latitude: degrees north, finite.
        longitude: degrees east, finite.

    Returns:
        (n,) true for outliers; independent of the order of the records. [CoordinateCleaner, cc_outl, quantile method]
    """
    frame = pd.DataFrame({"species": species, "lat": latitude, "lon": longitude}).reset_index(drop=True)
    places = frame.dropna().drop_duplicates().sort_values(["species", "lat", "lon"], ignore_index=True)
    counts = places["species"].value_counts()
    places = places[places["species"].isin(counts.index[counts >= FEWEST_PLACES])].reset_index(drop=True)
    vectors = unit_vectors(places["lat"].to_numpy(), places["lon"].to_numpy())
    far = np.zeros(len(places), dtype=bool)
    for rows in places.groupby("species").indices.values():  # one matrix product per species
        own = vectors[rows]
        chosen = np.unique(np.linspace(0, len(own) - 1, min(len(own), _MOST_REFERENCES)).round().astype(int))
        angle = np.arccos(np.clip(own @ own[chosen].T, -1.0, 1.0))
        distance = angle.mean(axis=1) * EARTH_RADIUS_M
        q1, q3 = np.quantile(distance, [0.25, 0.75])
        far[rows] = distance > q3 + SPREAD * (q3 - q1)
    marked = places[far].assign(outlier=True)
    joined = frame.merge(marked, on=["species", "lat", "lon"], how="left")
    return joined["outlier"].notna().to_numpy(dtype=bool)
