"""A release's maps become a version, once, wherever a run was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from data_catalog import Trait
from flows.cli import app
from maps.product.store import write_zarr
from maps.product.versions import history, open_map
from maps.stages.versions import keep_version, repository_address, repository_name, repository_names
from plant_traits.errors import MissingInputError
from plant_traits.run_spec import RunSpec
from plant_traits.workspace import Workspace

runner = CliRunner()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def release(make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path) -> Path:
    write_zarr(make_product(), product_traits, tmp_path / "release" / "maps.zarr")
    return tmp_path / "release"


def spec(month: str, **words: str) -> RunSpec:
    return RunSpec.resolve("tiny", month=month, **words)


def test_maps_of_one_profile_region_and_grid_follow_each_other(workspace: Workspace, release: Path) -> None:
    for month, key in (("2026-09", "k1"), ("2026-10", "k2"), ("2026-10", "k3")):
        shown = keep_version(workspace, spec(month), release=release, key=key, model_id="m1")
        assert not shown.reused
    keep_version(workspace, spec("2026-10", grid="10deg"), release=release, key="k4", model_id="m1")
    assert repository_names(workspace) == ["tiny-world-10deg", "tiny-world-5deg"]
    assert shown.summary == {"out": {"version kept, 2026-10.2": 1}, "version": "2026-10.2"}
    address = repository_address(workspace, repository_name(spec("2026-10")))
    assert [version.tag for version in history(address)] == ["2026-10.2", "2026-10.1", "2026-09.1"]
    xr.testing.assert_identical(open_map(address, "2026-09").load(), xr.open_zarr(release / "maps.zarr").load())


def test_the_same_release_is_unchanged(workspace: Workspace, release: Path) -> None:
    first = keep_version(workspace, spec("2026-10"), release=release, key="k", model_id="m1")
    again = keep_version(workspace, spec("2026-10"), release=release, key="k", model_id="m1")
    assert again.reused
    assert again.key == first.key


def test_a_workspace_that_keeps_no_versions_goes_on_and_says_so(
    release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remote = Workspace.open("memory://versions-test", tmp_path)
    shown = keep_version(remote, spec("2026-10"), release=release, key="k", model_id="m1")
    assert sum(shown.summary["lost"].values()) == 1
    assert "'memory' is not supported; expected a local path or s3://" in caplog.text


def test_the_address_of_a_remote_workspace_names_its_protocol(workspace: Workspace, tmp_path: Path) -> None:
    assert repository_address(workspace, "x") == str(tmp_path / "workspace" / "versions" / "x")
    remote = Workspace.open("memory://versions-test", tmp_path)
    assert repository_address(remote, "x") == "memory:///versions-test/versions/x"


def test_a_release_without_maps(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="expected the maps of a release"):
        keep_version(workspace, spec("2026-10"), release=tmp_path, key="k", model_id="m1")
    assert repository_names(workspace) == []


def test_the_commands(workspace: Workspace, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    place = ["--workspace", workspace.root]
    for key in ("k1", "k2"):
        keep_version(workspace, spec("2026-10"), release=release, key=key, model_id="m1")
    listed = runner.invoke(app, ["versions", "list", *place])
    assert listed.exit_code == 0
    assert listed.output.index("2026-10.2") < listed.output.index("2026-10.1")
    assert "2026-10-31" in listed.output
    told = runner.invoke(app, ["versions", "open-info", "tiny-world-5deg", "--version", "2026-10.1", *place])
    assert told.exit_code == 0
    assert "height [m], 23 layers, 5 cells" in told.output
    assert "model m1" in told.output
    kept = runner.invoke(app, ["versions", "expire", "tiny-world-5deg", "--older-than", "2100-01-01", *place])
    assert "removed versions: none" in kept.output
    gone = runner.invoke(
        app, ["versions", "expire", "tiny-world-5deg", "--older-than", "2100-01-01", "--drop-tags", *place]
    )
    assert "removed versions: 2026-10.1" in gone.output
    assert "1 snapshots" in gone.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["open-info", "elsewhere"], "keeps no versions of 'elsewhere'; there are: tiny-world-5deg"),
        (["open-info", "tiny-world-5deg", "--version", "2020-01"], "There are: 2026-10.1"),
        (["list", "../releases"], "keeps no versions of '../releases'"),
        (["expire", "elsewhere", "--older-than", "2026-01-01"], "keeps no versions"),
    ],
)
def test_wrong_words(workspace: Workspace, release: Path, arguments: list[str], message: str) -> None:
    keep_version(workspace, spec("2026-10"), release=release, key="k", model_id="m1")
    result = runner.invoke(app, ["versions", *arguments, "--workspace", workspace.root])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
