"""What the gate's names models are worth on observers they have not seen, as they are trained now and as they were.

Reads the photos of a finished run of a virtual world, whose stated names are partly wrong, and judges each observation
by the names model of the other observers, from its photos alone. Compared are the light training that starts at the
feature space (``plant_traits.taxa.gate.fitting.LIGHT``) and the published dual margin from a random start, each on two
halves of the observations. Prints a Markdown table.

    make demo && python benchmarks/gate_models.py workspace
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.model.features import read_features
from plant_traits.taxa.gate.fitting import CrossFitting, fit_cross_fitted
from plant_traits.taxa.taxonet.epochs import NameFitting

LEVELS = (0.05, 0.1)
RARE = 10  # observations of a species at most
NOW = CrossFitting()
SETTINGS: Mapping[str, CrossFitting] = {
    "now: from the feature space, logit adjustment": NOW,
    "before: from a random start, the published dual margin": replace(
        NOW, fit=replace(NOW.fit, how=NameFitting(epochs=12), from_space=False)
    ),
}


def main(workspace: Path) -> None:
    """Judge and print."""
    rows, features = read_photos(workspace)
    half = np.random.default_rng(0).permutation(rows["observation_id"].nunique()) % 2
    of = half[pd.factorize(rows["observation_id"])[0]]
    print(f"{len(rows):,} photos of {rows['species'].nunique()} species as stated\n")
    columns: dict[str, pd.Series] = {}
    for name, how in SETTINGS.items():
        for number in range(2):
            own = np.flatnonzero(of == number)
            columns[f"{name}, half {number + 1}"] = judged(rows.iloc[own].reset_index(drop=True), features[own], how)
    table = pd.DataFrame(columns)
    print("\n".join([f"| | {' | '.join(table.columns)} |", "|---" * (len(table.columns) + 1) + "|"]))
    for name, values in table.iterrows():
        print(f"| {name} | {' | '.join(f'{x:.3f}' if x < 1 else f'{x:,.0f}' for x in values)} |")


def read_photos(workspace: Path) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    """Return the run's photos with names, each once, with its true species and its features."""
    shards = sorted(workspace.glob("steps/shard/*/observations.parquet"))
    rows = pd.concat([pd.read_parquet(path) for path in shards]).dropna(subset=["photo_id", "species"])
    rows = rows.drop_duplicates("photo_id").reset_index(drop=True)
    truth = [
        pd.read_parquet(path, columns=["photo_id", "true_species"])
        for path in sorted(workspace.glob("mirror/*/truth/records.parquet"))
    ]
    true = pd.concat(truth).drop_duplicates("photo_id").set_index("photo_id")["true_species"]
    rows["true"] = rows["photo_id"].map(true)
    features: npt.NDArray[np.float32] | None = None
    for path in sorted(workspace.glob("steps/shard-features/*/features.parquet")):
        found = read_features(path)
        position = pd.Series(np.arange(len(found.photo_id)), index=found.photo_id).groupby(level=0).first()
        at = rows["photo_id"].map(position).fillna(-1).to_numpy(dtype=np.int64)
        if features is None:
            features = np.full((len(rows), found.features.shape[1]), np.nan, dtype=np.float32)
        features[at >= 0] = found.features[at[at >= 0]]
    if features is None:
        raise SystemExit(f"{workspace}: expected a finished run, found no photo features; run `make demo`")
    usable = np.isfinite(features).all(axis=1) & rows["true"].notna().to_numpy()
    return rows[usable].reset_index(drop=True), features[usable]


def judged(rows: pd.DataFrame, features: npt.NDArray[np.float32], how: CrossFitting) -> pd.Series:
    """Return what the names models say of observations whose observers they have not seen."""
    began = time.monotonic()
    names = fit_cross_fitted(rows, features, how, encoder_identity="of the run").names
    took = time.monotonic() - began
    first = rows.drop_duplicates("observation_id").reset_index(drop=True)
    place = pd.Index(first["observation_id"]).get_indexer(pd.Index(rows["observation_id"])).astype(np.int64)
    found = names.evidence(first, first, features, place)
    right = first["species"] == first["true"]
    named = found["best"] == first["true"]
    p = found["p_species"]
    rare = first["true"].map(first["true"].value_counts()) <= RARE
    by_species = named.groupby(first["true"]).mean()
    told: dict[str, float] = {"observations": len(first), "of them wrongly named": int((~right).sum())}
    for level in LEVELS:
        told[f"wrong names caught at α = {level}"] = float((p[~right & p.notna()] < level).mean())
        told[f"right names lost at α = {level}"] = float((p[right & p.notna()] < level).mean())
        told[f"right names of rare species lost at α = {level}"] = float((p[right & rare & p.notna()] < level).mean())
    told["named truly"] = float(named.mean())
    told["macro recall"] = float(by_species.mean())
    told["macro recall, rare species"] = float(named[rare].groupby(first["true"][rare]).mean().mean())
    return pd.Series(told | {"seconds of training": took})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
