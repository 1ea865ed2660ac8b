"""Names of real photos by prototypes of frozen features, one observation being left out at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import encode_photos, read_features, write_features
from plant_traits.taxa.taxonet.prototypes import leave_one_out_cosines
from plant_traits.taxa.taxonet.recall import evaluate_names


def real_photos(folder: Path, data: Path) -> list[str]:
    """Score prototypes on real photos, the photos of one observation being left out together."""
    table = pd.read_csv(data / "photos" / "inat_ucsc.csv")
    files = [data / "photos" / "inat_ucsc" / name for name in table["img_name"]]
    table, files = table[[path.is_file() for path in files]], [path for path in files if path.is_file()]
    cached = folder / "real-dinov2-small.parquet"
    if not cached.exists():
        encoded = encode_photos([x.name for x in files], (x.read_bytes() for x in files), load_encoder("dinov2-small"))
        write_features(encoded, cached)
    read = read_features(cached)
    usable = np.array([status == "ok" for status in read.status])
    species, label = np.unique(table["scientific_name"].to_numpy(dtype=str)[usable], return_inverse=True)
    observation, counts = table["iNat ID"].to_numpy()[usable], np.bincount(label)
    known = table[usable].assign(label=label).drop_duplicates("label").sort_values("label")
    ranks = {rank: pd.factorize(known[f"taxon_{rank}_name"])[0] for rank in ("genus", "family")}
    alone = int((counts == 1).sum())
    lines = [
        "## Real photos",
        "",
        f"{usable.sum()} photos of {len(species)} species ({counts.min()} to {counts.max()} each, median "
        f"{np.median(counts):g}; {alone} species with one photo, which leaving it out makes unknown), frozen "
        "DINOv2-small features, prototypes made without the photo's own observation, nothing trained. The interval is "
        "of resampled species.",
        "",
        "| features | accuracy | among the first five | macro recall | genus | family |",
        "|---|---|---|---|---|---|",
    ]
    whole = read.features[usable]
    half = whole.shape[1] // 2
    parts = {"class token and mean patch token": whole, "class token": whole[:, :half]}
    for title, features in parts.items():
        ranked = (-leave_one_out_cosines(features, label, observation, len(species))).argsort(axis=1)
        recall = evaluate_names(ranked[:, 0], label, counts, ranks)
        five = float((ranked[:, :5] == label[:, None]).any(axis=1).mean())
        rng = np.random.default_rng(0)
        low, high = np.quantile([rng.choice(recall.by_class, len(species)).mean() for _ in range(2000)], [0.025, 0.975])
        lines.append(
            f"| {title} | {recall.accuracy:.3f} | {five:.3f} | {recall.macro:.3f} ({low:.3f} to {high:.3f}) | "
            f"{recall.by_rank['genus']:.3f} | {recall.by_rank['family']:.3f} |"
        )
    return lines
