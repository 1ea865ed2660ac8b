"""Shape what the gate of names did into the rows of the report's section on names."""

from __future__ import annotations

from typing import Any

import pandas as pd

from maps.report.inputs import ReportInputs

RANKS = {
    "species": "accepted at species",
    "genus": "accepted at genus only",
    "growth_form": "accepted at growth form only",
    "none": "set aside",
}
REASONS = {
    "photo": "the photo agrees",
    "votes": "votes agree",
    "votes_and_photo": "votes and photo agree",
    "no_evidence": "nothing speaks for or against it",
    "coarser": "the photo supports no more",
    "unknown_to_model": "unlike any species the model knows",
    "not_a_plant": "shows no plant",
    "contradicted_by_votes": "votes agree on another name",
    "contradicted_by_photo": "the photo speaks against it",
}


def name_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return the rows of the section on names: observations by rank, with reasons, and the effect on cells by trait.

    Returns:
        total, ranks (words, n, renamed, share, reasons: words and n), effect (name, cells, cells_lost, cells_gained,
        difference, error, beyond) and errors (reference, name, n, stated, accepted); None where the run had no gate.
    """
    if inputs.names is None:
        return None
    counts = inputs.names.counts
    total = int(counts["n"].sum())
    return {
        "total": total,
        "ranks": [_rank(counts[counts["rank"] == rank], words, total) for rank, words in RANKS.items()],
        "effect": [
            {
                "name": inputs.trait_name(row["trait"]),
                "cells": int(row["cells"]),
                "cells_lost": int(row["cells_lost"]),
                "cells_gained": int(row["cells_gained"]),
                "difference": _known(row["rms_difference"]),
                "error": _known(row["median_standard_error"]),
                "beyond": _known(row["share_beyond_error"]),
            }
            for row in inputs.names.effect.to_dict("records")
        ],
        "errors": [
            {
                "reference": row["reference"],
                "name": inputs.trait_name(row["trait"]),
                "n": int(row["n"]),
                "stated": _known(row["rmse_stated"]),
                "accepted": _known(row["rmse_accepted"]),
            }
            for row in inputs.names.errors.to_dict("records")
        ],
    }


def _rank(counts: pd.DataFrame, words: str, total: int) -> dict[str, Any]:
    n = int(counts["n"].sum())
    reasons = counts.sort_values(["n", "reason"], ascending=[False, True])
    return {
        "words": words,
        "n": n,
        "renamed": int(counts["renamed"].sum()),
        "share": n / total if total else 0.0,
        "reasons": [
            (REASONS.get(str(reason), str(reason).replace("_", " ")), int(k))
            for reason, k in zip(reasons["reason"], reasons["n"], strict=True)
        ],
    }


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
