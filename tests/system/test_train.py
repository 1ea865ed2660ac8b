"""The flows of a training and of an evaluation on the tiny virtual world, beside a finished refresh of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from plant_traits.model.checkpoint import load_model

pytestmark = pytest.mark.system

WORDS = {"profile": "tiny"}


def test_a_training_finds_the_model_of_a_refresh(tiny_run) -> None:
    from flows.train import train
    from tasks.showing import showing

    shown = type(tiny_run.shown)()
    with showing(shown):
        folder = Path(train(workspace=str(tiny_run.workspace), **WORDS))
    assert "trained heads" in shown.reused
    assert folder.parent == tiny_run.workspace / "models"
    assert {"weights.safetensors", "card.yaml", "curves.csv", "model.html"} <= {path.name for path in folder.iterdir()}
    model = load_model(folder, ("height", "leaf_area", "sla", "leaf_n"))
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert card["model_id"] == model.model_id == tiny_run.shown.summaries["trained heads"]["model_id"]
    counts = model.metrics["counts"]
    splits = {name: n for name, n in counts.items() if name not in {"records", "records_dropped", "records_fitted"}}
    assert sum(splits.values()) == counts["records"]
    assert counts["records_fitted"] <= counts["records_fitting"]
    table = tiny_run.shown.summaries["training table"]
    assert sum(table["out"].values()) == counts["records"]
    assert sum(table["in"].values()) == sum(table["out"].values()) + sum(table["lost"].values())


def test_variants_are_scored_side_by_side_and_found_again(tiny_run) -> None:
    from flows.evaluate import evaluate
    from tasks.showing import showing

    found = []
    for _ in range(2):
        shown = type(tiny_run.shown)()
        with showing(shown):
            folder = evaluate(workspace=str(tiny_run.workspace), variants=["full", "photo", "place-truth"], **WORDS)
        found.append((Path(folder), shown))
    (folder, first), (_, again) = found
    assert {"variant full", "variant photo", "variant place-truth"} <= set(first.computed)
    assert "photo features" in first.reused
    assert again.computed == []
    scores = pd.concat([pd.read_csv(path) for path in folder.glob("*.csv")])
    assert set(scores["variant"]) == {"full", "photo", "place-truth"}
    assert set(scores.loc[scores["variant"] == "photo", "modalities"]) == {"image"}
    assert set(scores.loc[scores["variant"] == "place-truth", "modalities"]) == {"geospatial"}
    assert set(scores["compared_with"]) == {"labels", "truth"}
    assert list(folder.glob("*.html"))


def test_an_unknown_variant_is_refused_before_anything_runs(tmp_path: Path, prefect_server: None) -> None:
    from flows.evaluate import evaluate
    from plant_traits.errors import ModelError

    with pytest.raises(ModelError, match="expected one of full"):
        evaluate(workspace=str(tmp_path / "w"), variants=["phto"], **WORDS)
    assert not (tmp_path / "w").exists()
