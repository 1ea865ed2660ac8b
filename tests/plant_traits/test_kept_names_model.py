"""The names model that a lineage keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.kept_names_model import KeptNamesModel, find_kept_names, keep_names_model
from plant_traits.kept_pointer import differences
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def model(workspace: Workspace) -> Artifact:
    def write(folder: Path) -> dict[str, object]:
        (folder / "card.json").write_text("{}")
        return {"model_id": "0011aabb"}

    return StepStore(workspace).run("names-model", write, code="1")


def test_it_is_found_by_its_lineage_and_told_apart_by_its_encoder(workspace: Workspace) -> None:
    assert find_kept_names(workspace, "demo-0") is None
    kept = KeptNamesModel(model(workspace), "demo-world", "2026-10", {"photo encoder": "e1"})
    keep_names_model(workspace, "demo-0", kept)
    found = find_kept_names(workspace, "demo-0")
    assert found is not None
    assert (found.model, found.run, found.month) == (kept.model, "demo-world", "2026-10")
    assert found.model_id == "0011aabb"
    assert differences(found, {"photo encoder": "e1"}) == ()
    assert differences(found, {"photo encoder": "e2"}) == ("photo encoder",)
    assert find_kept_names(workspace, "demo-1") is None


def test_it_says_what_it_was_trained_on(workspace: Workspace) -> None:
    made = model(workspace)
    assert "on the records up to 2026-10" in KeptNamesModel(made, "demo-world", "2026-10", {}).told
    assert "on a set of labelled images" in KeptNamesModel(made, "demo-world", None, {}).told
    assert "0011aabb" in KeptNamesModel(made, "demo-world", None, {}).told


def test_a_model_that_is_gone_is_none_and_a_damaged_pointer_is_told(workspace: Workspace) -> None:
    made = model(workspace)
    keep_names_model(workspace, "demo-0", KeptNamesModel(made, "demo-world", None, {}))
    Path(workspace.address("steps", "names-model", made.key, "card.json")).unlink()
    assert find_kept_names(workspace, "demo-0") is None
    for content in ("{", "[]", '{"model": 3}'):
        Path(workspace.address("names-models", "demo-0.json")).write_text(content)
        with pytest.raises(WorkspaceError, match="names are accepted as stated"):
            find_kept_names(workspace, "demo-0")
