"""Write the results of ``sampling_repeats.py`` as Markdown: coverage and errors by method, trait and kind of cell.

python benchmarks/repeats_table.py repeats
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

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


def by_repeat(rows: pd.DataFrame, kinds: Sequence[str], quantity: str) -> pd.DataFrame:
    """Return a quantity over cells of some kinds, a row per trait and method, a column per repeat.

    Args:
        rows: of all repeats.
        kinds: of cells.
        quantity: ``coverage`` in per cent, ``rmse`` or ``cells``.
    """
    sums = rows[rows["kind"].isin(kinds)].groupby(["trait", "method", "repeat"])[["cells", "covered", "squares"]].sum()
    sums = sums[sums["cells"] > 0]
    if quantity == "coverage":
        sums = sums[sums.index.get_level_values("method") != "geospatial"]
        found = 100 * sums["covered"] / sums["cells"]
    else:
        found = sums["cells"] if quantity == "cells" else (sums["squares"] / sums["cells"]) ** 0.5
    return found.unstack("repeat")


def coverage_of_published(rows: pd.DataFrame) -> str:
    """Return the table of the published intervals' coverage by trait and kind of cell, with what is asked of it."""
    traits = list(dict.fromkeys(rows["trait"]))
    lines = ["| kind of cell | " + " | ".join(traits) + " | all traits | asked | cells a repeat |"]
    lines.append("|---" * (len(traits) + 4) + "|")
    for kind, names in KINDS.items():
        found = by_repeat(rows, names, "coverage").xs(PUBLISHED, level="method")
        values = [_spread(found.loc[trait]) for trait in traits] + [_spread(found.mean(axis=0))]
        cells = by_repeat(rows, names, "cells").xs(PUBLISHED, level="method").to_numpy().mean()
        lines.append(f"| {kind} | " + " | ".join([*values, TARGETS[kind]]) + f" | {cells:,.0f} |")
    return "\n".join(lines)


def every_method(rows: pd.DataFrame) -> str:
    """Return the table of all methods: coverage by kind of cell, errors, and errors against two of the methods."""
    coverage = [by_repeat(rows, kinds, "coverage") for kinds in KINDS.values()]
    photos = by_repeat(rows, WITH_PHOTOS, "rmse")
    errors = [*(by_repeat(rows, KINDS[kind], "rmse") for kind in ("photo-rich", "sparse", "empty")), photos]
    heads = ["trait", "method", "coverage, %: photo-rich", *list(KINDS)[1:], "RMSE: photo-rich", "sparse", "empty",
             "all with photos", "that against `mean`", "against `inverse_variance`"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for trait in dict.fromkeys(rows["trait"]):
        for method, name in METHODS.items():
            of = (trait, method)
            cells = [_spread(table.loc[of]) if of in table.index else "-" for table in coverage]
            cells += [f"{table.loc[of].mean():.3f}" if of in table.index else "-" for table in errors]
            for other in ("mean", "inverse_variance"):
                ratio = (photos.loc[of] / photos.loc[(trait, other)]).mean()
                cells.append(f"{100 * (ratio - 1):+.0f} %")
            lines.append(f"| {trait} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.1f} ± {values.std():.1f}"


def main() -> None:
    """Print both tables of the folder that the command line names."""
    rows = read_repeats(Path(sys.argv[1]))
    print(coverage_of_published(rows), every_method(rows), sep="\n\n")


if __name__ == "__main__":
    main()
