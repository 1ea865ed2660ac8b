"""The stage that gathers a model's files and page, and the readers of what the training left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from maps.stages.model_page import read_curves, write_model_page
from plant_traits.errors import ModelError, TableError
from plant_traits.model.checkpoint import load_model

ModelMaker = Callable[[dict[str, Any]], Path]
METRICS = {"counts": {"records": 6161}}
WIDE = pd.DataFrame(
    {
        "member": [0, 0], "round": ["first"] * 2, "epoch": [1, 2], "learning_rate": [1e-3] * 2, "loss": [2.0, 1.0],
        "held_out_loss": [2.5, 1.5], "rmse_height": [1.0, 0.5], "r_height": [0.1, 0.2], "rmse_leaf_n": [1.0, 0.5],
        "r_leaf_n": [0.3, 0.4],
    }
)  # fmt: skip


def out(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    return folder


def test_weights_card_and_curves_go_with_the_page(make_model: ModelMaker, tmp_path: Path) -> None:
    model, destination, cleaning = make_model(METRICS), out(tmp_path), tmp_path / "cleaning"
    WIDE.to_csv(model / "curves.csv", index=False)
    cleaning.mkdir()
    pd.DataFrame({"fit": "first", "row": [3, 7], "round": 1, "reason": "label contradicted"}).to_csv(
        cleaning / "dropped.csv", index=False
    )
    licences = {"efficientnet-lite0": "Apache-2.0"}
    summary = write_model_page(destination, model=model, cleaning=cleaning, name="tiny & co", licences=licences)
    assert summary == {
        "in": {"epochs": 2},
        "out": {"files": 5},
        "lost": {"photo left out of the fit that is scored": 2},
    }
    names = {path.name for path in destination.iterdir()}
    assert names == {"weights.safetensors", "card.yaml", "curves.csv", "learning_curves.png", "model.html"}
    assert load_model(destination).model_id == load_model(model).model_id
    page = (destination / "model.html").read_text(encoding="utf-8")
    assert "Trait model of the run tiny &amp; co" in page
    assert hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest() in page
    assert "<td>efficientnet-lite0</td><td>Apache-2.0</td>" in page
    assert "climate and soil values as they are" in page
    assert "2 photos were left out of the fit that is scored." in page


def test_what_tells_where_a_model_applies_and_errs_goes_with_it(make_model: ModelMaker, tmp_path: Path) -> None:
    model = make_model({})
    names = ("training_places.safetensors", "held_out_places.parquet")
    for name in names:
        (model / name).write_bytes(name.encode())
    destination = out(tmp_path)
    assert write_model_page(destination, model=model, cleaning=None, name="tiny")["out"] == {"files": 5}
    for name in names:
        assert (destination / name).read_bytes() == name.encode()


def test_a_model_alone_has_a_page(make_model: ModelMaker, tmp_path: Path) -> None:
    summary = write_model_page(out(tmp_path), model=make_model({}), cleaning=None, name="tiny")
    assert summary == {"in": {"epochs": 0}, "out": {"files": 3}, "lost": {}}
    page = (tmp_path / "page/model.html").read_text(encoding="utf-8")
    assert "not recorded with the model" in page
    assert "No cleaning rounds" in page


def test_a_damaged_model_is_not_handed_on(make_model: ModelMaker, tmp_path: Path) -> None:
    model = make_model({})
    (model / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be read"):
        write_model_page(out(tmp_path), model=model, cleaning=None, name="tiny")
    assert list((tmp_path / "page").iterdir()) == []


def test_both_shapes_of_curves_are_read(tmp_path: Path) -> None:
    WIDE.to_csv(tmp_path / "history.csv", index=False)
    long = read_curves(tmp_path / "history.csv")
    assert long[["epoch", "trait", "pearson_r"]].to_numpy().tolist() == [
        [1, "height", 0.1], [2, "height", 0.2], [1, "leaf_n", 0.3], [2, "leaf_n", 0.4],
    ]  # fmt: skip
    long.to_csv(tmp_path / "curves.csv", index=False)
    pd.testing.assert_frame_equal(read_curves(tmp_path / "curves.csv"), long, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "as CSV"), ("member,round\n0,1\n", "lacks the columns"), ("member,round,epoch,loss\n", "held_out_loss")],
)
def test_curves_that_are_none_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "curves.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=words):
        read_curves(tmp_path / "curves.csv")


def test_a_list_of_dropped_records_without_reasons_is_refused(make_model: ModelMaker, tmp_path: Path) -> None:
    model = make_model({})
    pd.DataFrame({"row": [1]}).to_csv(model / "dropped.csv", index=False)
    with pytest.raises(TableError, match=r"lacks the columns \['round', 'reason'\]"):
        write_model_page(out(tmp_path), model=model, cleaning=None, name="tiny")
