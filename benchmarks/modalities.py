"""What photo and place are worth to each other, over several seeds and so over several choices of held-out records.

Trains the profile's model on photos with their places, on photos alone and on places alone, each with the same labels,
and scores it against the true values of photographed plants in held-out regions and for held-out species. Reads the
training table of a finished run of the profile ``demo`` and prints a Markdown table: the mean over the seeds, and in
brackets in how many of them photo and place are better than that model.

    python benchmarks/modalities.py workspace [seed ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
from demo_run import training_table, true_values

from data_catalog import load_catalog
from plant_traits.stages.evaluation import SCORES, evaluate_variant

VARIANTS = {"full": "image+geospatial", "photo": "image", "place": "geospatial"}
MEASURES = {"pearson_r": "r", "rmse": "RMSE", "within_species_r": "r within species"}


def main(workspace: Path, seeds: list[int]) -> None:
    """Train, score and print."""
    catalog = load_catalog()
    profile = catalog.profile("demo")
    traits = tuple(catalog.trait(name) for name in profile.traits)
    parts = []
    for seed in seeds:
        settings = profile.model.model_copy(update={"seed": seed, "cleaning": "none"})
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                evaluate_variant(
                    Path(folder),
                    name=name,
                    encoder=None,
                    table=training_table(workspace),
                    cleaning=None,
                    traits=traits,
                    settings=settings,
                    encoder_identity="benchmark",
                    device="cpu",
                    truth=true_values(workspace),
                    progress=lambda *_: None,
                )
                parts.append(pd.read_csv(Path(folder) / SCORES).assign(seed=seed))
            print(f"seed {seed}, {name}: done", file=sys.stderr, flush=True)
    scores = pd.concat(parts)
    of_variant = scores["modalities"] == scores["variant"].map(VARIANTS)
    chosen = scores[of_variant & (scores["compared_with"] == "truth") & (scores["growth_form"] == "all")]
    ids = [trait.id for trait in traits]
    print(f"| held out | model | {' | '.join(ids)} | mean |\n|{'---|' * (len(ids) + 3)}")
    for split in ("regions", "species"):
        for name in VARIANTS:
            print(f"| {split} | {name} | {' | '.join(_cells(chosen[chosen['split'] == split], name, ids))} |")


def _cells(scores: pd.DataFrame, name: str, traits: list[str]) -> list[str]:
    """Return r, RMSE and r within species of each trait and their mean over traits."""
    parts = []
    for trait in (*traits, None):
        words = []
        for column, label in MEASURES.items():
            wide = scores.pivot_table(index="seed", columns=["variant", "trait"], values=column)
            mine, full = ((wide[x] if trait is None else wide[x][[trait]]).mean(axis=1) for x in (name, "full"))
            better = ((full < mine) if column == "rmse" else (full > mine)).sum()
            words.append(f"{label} {mine.mean():.3f}" + ("" if name == "full" else f" ({better}/{len(mine)})"))
        parts.append(", ".join(words))
    return parts


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [1, 2, 3])
