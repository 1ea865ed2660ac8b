"""Write the results of ``sampling_repeats.py`` as Markdown: coverage and errors by method, trait and kind of cell.

python benchmarks/repeats_table.py repeats
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

PUBLISHED = "mixed, filled"
METHODS = {
    "mean": "`mean`",
    "inverse_variance": "`inverse_variance`",
    "random_effects": "`random_effects`",
    "mixed": "`mixed`, from photos alone",
    "mixed_equal": "`mixed_equal`, from photos alone",
    "effort_weighted": "effort-weighted mean",
    "geospatial": "geospatial prediction alone",
    "mixed, filled, no plots": "`mixed`, filled, without plots",
    "mixed, filled, raw": "`mixed`, filled, intervals not calibrated",
    PUBLISHED: "**`mixed`, filled: what is published**",
}
KINDS = {
    "photo-rich": ("rich inside", "rich outside"),
    "sparse": ("sparse inside",),
    "empty": ("empty inside",),
    "empty, outside": ("empty outside",),
}
WITH_PHOTOS = ("rich inside", "rich outside", "sparse inside", "sparse outside")
TARGETS = {"photo-rich": "93-97 %", "sparse": "at least 90 %", "empty": "at least 90 %", "empty, outside": "none"}


def read_repeats(folder: Path) -> pd.DataFrame:
    """Return the rows of all repeats of a folder."""
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def by_repeat(rows: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Return coverage and root mean squared error by trait, method and repeat, over cells of some kinds."""
    sums = rows[rows["kind"].isin(kinds)].groupby(["trait", "method", "repeat"])[["cells", "covered", "squares"]].sum()
    sums = sums[sums["cells"] > 0]
    coverage = (sums["covered"] / sums["cells"]).where(sums.index.get_level_values("method") != "geospatial")
    return pd.DataFrame(
        {"coverage": coverage, "rmse": np.sqrt(sums["squares"] / sums["cells"]), "cells": sums["cells"]}
    )


def coverage_of_published(rows: pd.DataFrame) -> str:
    """Return the table of the published intervals' coverage by trait and kind of cell, with what is asked of it."""
    traits = list(dict.fromkeys(rows["trait"]))
    lines = ["| kind of cell | " + " | ".join(traits) + " | all traits | asked | cells a repeat |"]
    lines.append("|---" * (len(traits) + 4) + "|")
    for kind, names in KINDS.items():
        found = by_repeat(rows, names).xs(PUBLISHED, level="method")
        grouped = found.groupby("trait", sort=False)["coverage"]
        values = [f"{100 * grouped.get_group(x).mean():.1f} ± {100 * grouped.get_group(x).std():.1f}" for x in traits]
        together = found["coverage"].groupby("repeat").mean()
        values += [f"{100 * together.mean():.1f} ± {100 * together.std():.1f}", TARGETS[kind]]
        lines.append(f"| {kind} | " + " | ".join(values) + f" | {found['cells'].mean():,.0f} |")
    return "\n".join(lines)


def every_method(rows: pd.DataFrame) -> str:
    """Return the table of all methods: coverage by kind of cell, errors, and errors as parts of the plain mean's."""
    parts = {name: by_repeat(rows, kinds) for name, kinds in (*KINDS.items(), ("with photos", WITH_PHOTOS))}
    lines = ["| trait | method | coverage, %: photo-rich | sparse | empty | empty, outside | RMSE: photo-rich | sparse "
             "| empty | all with photos | of `mean` | of `inverse_variance` |"]  # fmt: skip
    lines.append("|---" * 12 + "|")
    for trait in dict.fromkeys(rows["trait"]):
        photos = parts["with photos"]["rmse"].loc[trait]
        for method, name in METHODS.items():
            if method not in photos.index:
                continue
            coverage = [_coverage(part, trait, method) for kind, part in parts.items() if kind != "with photos"]
            errors = [_error(parts[kind], trait, method) for kind in ("photo-rich", "sparse", "empty", "with photos")]
            own = photos.loc[method]
            against = [_ratio(own, photos.loc[other]) for other in ("mean", "inverse_variance")]
            lines.append(f"| {trait} | {name} | " + " | ".join([*coverage, *errors, *against]) + " |")
    return "\n".join(lines)


def _coverage(part: pd.DataFrame, trait: str, method: str) -> str:
    if (trait, method) not in part.index.droplevel("repeat"):
        return "-"
    values = 100 * part.loc[(trait, method), "coverage"]
    return "-" if values.isna().all() else f"{values.mean():.1f} ± {values.std():.1f}"


def _error(part: pd.DataFrame, trait: str, method: str) -> str:
    if (trait, method) not in part.index.droplevel("repeat"):
        return "-"
    return f"{part.loc[(trait, method), 'rmse'].mean():.3f}"


def _ratio(own: pd.Series, other: pd.Series) -> str:
    ratio = own / other.reindex(own.index)
    return f"{100 * (ratio.mean() - 1):+.0f} %"


def main() -> None:
    """Print both tables of the folder that the command line names."""
    rows = read_repeats(Path(sys.argv[1]))
    print(coverage_of_published(rows), every_method(rows), sep="\n\n")


if __name__ == "__main__":
    main()
