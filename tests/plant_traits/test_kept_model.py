"""The model that runs keep: found again as it was kept, and not where something else is asked of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.kept_model import KeptModel, find_kept, keep_model
from plant_traits.kept_pointer import differences
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace

FITS = {"settings": {"hidden": 32, "traits": ("a", "b")}, "traits": [{"id": "height"}], "network start": None}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def made(workspace: Workspace, step: str) -> Artifact:
    def write(folder: Path) -> dict[str, object]:
        (folder / "file").write_text(step)
        return {"in": {"training rows": 12345}, "model_id": "0011aabb"}

    return StepStore(workspace).run(step, write, code="1")


def kept(workspace: Workspace) -> KeptModel:
    table = {"training table": made(workspace, "training-table")}
    return KeptModel(
        made(workspace, "model"), made(workspace, "model-page"), table, "demo-world-1deg-2026-10", "2026-10", FITS
    )


def test_a_kept_model_is_found_by_its_lineage(workspace: Workspace) -> None:
    assert find_kept(workspace, "demo-0") is None
    model = kept(workspace)
    keep_model(workspace, "demo-0", model)
    found = find_kept(workspace, "demo-0")
    assert found is not None
    assert (found.model, found.page, dict(found.made_of)) == (model.model, model.page, dict(model.made_of))
    assert found.model.reused
    assert differences(found, FITS) == ()
    assert find_kept(workspace, "demo-1") is None


def test_the_latest_kept_model_counts(workspace: Workspace) -> None:
    keep_model(workspace, "demo-0", kept(workspace))
    other = KeptModel(made(workspace, "given-model"), made(workspace, "model-page"), {}, "mine", None, FITS)
    keep_model(workspace, "demo-0", other)
    found = find_kept(workspace, "demo-0")
    assert found is not None
    assert found.model.step == "given-model"


def test_what_is_asked_otherwise_is_named(workspace: Workspace) -> None:
    model = kept(workspace)
    keep_model(workspace, "demo-0", model)
    found = find_kept(workspace, "demo-0")
    assert found is not None
    asked = FITS | {"traits": [{"id": "sla"}], "covariates": []}
    assert differences(found, asked) == ("covariates", "traits")
    assert differences(model, {name: FITS[name] for name in ("settings", "traits")}) == ()  # None says nothing


def test_it_says_which_model_when_and_on_what(workspace: Workspace) -> None:
    model = kept(workspace)
    assert "0011aabb" in model.told
    assert "demo-world-1deg-2026-10" in model.told
    assert "12,345 rows" in model.told
    assert "up to 2026-10" in model.told
    given = KeptModel(model.model, model.page, {}, "mine", None, FITS)
    assert "given under the name mine" in given.told


def test_a_model_that_is_gone_is_none_and_a_damaged_pointer_is_told(workspace: Workspace) -> None:
    model = kept(workspace)
    keep_model(workspace, "demo-0", model)
    Path(workspace.address("steps", "training-table", f"{model.made_of['training table'].key}.json")).unlink()
    found = find_kept(workspace, "demo-0")
    assert found is not None
    assert dict(found.made_of) == {}
    Path(workspace.address("steps", "model", model.model.key, "file")).unlink()
    assert find_kept(workspace, "demo-0") is None
    pointer = Path(workspace.address("models", "demo-0.json"))
    for content in ("{", "[]", json.dumps({"model": {}})):
        pointer.write_text(content)
        with pytest.raises(WorkspaceError, match="remove it"):
            find_kept(workspace, "demo-0")
