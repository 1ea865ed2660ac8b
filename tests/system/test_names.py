"""A names model trained on the tiny virtual world, and the gate of names in the refreshes that follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.system

WORDS = {"profile": "tiny"}


@pytest.fixture
def names_model(tiny_run) -> Iterator[Path]:
    """Train a names model in the workspace of the tiny run; no other test finds it there."""
    from flows.train_names import train_names
    from tasks.showing import showing

    shown = type(tiny_run.shown)()
    with showing(shown):
        folder = Path(train_names(workspace=str(tiny_run.workspace), **WORDS))
    assert "names model" in shown.computed
    assert "photo features" in shown.reused
    yield folder
    for pointer in (tiny_run.workspace / "names-models").glob("*.json"):
        pointer.unlink()


def test_a_names_model_gates_the_refreshes_that_follow(tiny_run, run_refresh, names_model: Path) -> None:
    assert {"card.json", "taxonomy.parquet", "names-0.safetensors"} <= {path.name for path in names_model.iterdir()}
    gated = run_refresh(tiny_run.workspace, grid="10deg", **WORDS)
    assert {"names gate", "decisions on names", "moments of shards"} <= set(gated.shown.computed)
    assert {"photo features", "trained heads", "predictions"} <= set(gated.shown.reused)
    told = gated.shown.summaries["names gate"]
    assert told["in"]["observations"] == sum(told["out"].values()) + sum(told["lost"].values())
    folder = tiny_run.workspace / "names" / "tiny-world-10deg-2026-10"
    decisions = pd.read_parquet(folder / "decisions.parquet")
    assert len(decisions) == told["in"]["observations"] == decisions["observation_id"].nunique()
    assert decisions["vote_valid"].any()
    assert ((decisions["rank"] == "species") & (decisions["name"] != decisions["stated"])).any()
    aside = pd.read_csv(folder / "set_aside.csv")
    assert set(aside["observation_id"]) == set(decisions["observation_id"][decisions["rank"] == "none"])
    assert aside["photo_url"].notna().all()
    counts = json.loads((folder / "names.json").read_text())
    assert counts["model"].startswith("Names were judged with the names model")
    page = (gated.release / "report.html").read_text(encoding="utf-8")
    for reason in told["lost"]:
        assert reason in page
    # Switched off, a run is what it was before there was a names model.
    off = run_refresh(tiny_run.workspace, names_gate="off", **WORDS)
    assert off.shown.computed == []
    assert off.release.resolve() == tiny_run.release.resolve()
