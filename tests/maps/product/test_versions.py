"""Versions of a product: whole, told apart, kept while they should be."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray as xr

import maps.product.versions
from data_catalog import Trait
from maps.product.store import write_zarr
from maps.product.version_repository import (
    UnknownVersionError,
    VersionConflictError,
    VersionsUnsupportedError,
    _storage,
)
from maps.product.versions import MapVersion, commit_product, expire_and_collect, find_version, history, open_map
from plant_traits.errors import MissingInputError, WorkspaceError
from plant_traits.month import Month

DRILL = Path(__file__).with_name("commit_drill.py")
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "versions" / "demo-world-15deg"


@pytest.fixture
def stored(make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path) -> xr.Dataset:
    write_zarr(make_product(), product_traits, tmp_path / "maps.zarr")
    return xr.open_zarr(tmp_path / "maps.zarr")


def commit(repository: Path | str, product: xr.Dataset, release: str, month: Month = Month(2026, 10)) -> MapVersion:
    return commit_product(
        repository, product, release=release, month=month, model_id="m1", configuration="c1", message="a line", wait_s=0
    )


def plain(value: float, size: int = 3) -> xr.Dataset:
    return xr.Dataset({"height": ("lat", np.full(size, value))}, coords={"lat": np.arange(float(size))})


def drill(what: str, folder: Path, moments: int) -> dict[str, int]:
    command = [sys.executable, str(DRILL), what, str(folder), "--moments", str(moments)]
    root = Path(maps.product.versions.__file__).parent.parent.parent
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_a_version_is_the_product_to_the_attribute(repository: Path, stored: xr.Dataset) -> None:
    made = commit(repository, stored, "r1")
    back = open_map(repository)
    assert back["height"].chunks is not None  # lazy
    xr.testing.assert_identical(back.load(), stored.load())
    assert {name: x.dtype for name, x in back.items()} == {name: x.dtype for name, x in stored.items()}
    assert (made.tag, made.month, made.time, made.model_id) == ("2026-10.1", "2026-10", "2026-10-31", "m1")
    assert (made.release, made.configuration, made.message) == ("r1", "c1", "a line")
    assert not made.reused
    assert history(repository) == [made]


def test_versions_differ_and_all_stay_readable(repository: Path) -> None:
    first = commit(repository, plain(1.0), "r1")
    commit(repository, plain(2.0, size=5).rename(height="sla"), "r2")
    commit(repository, plain(0.0), "r0", Month(2026, 9))
    assert [version.tag for version in history(repository)] == ["2026-10.2", "2026-10.1", "2026-09.1"]
    assert open_map(repository, "2026-10.1")["height"].values.tolist() == [1.0] * 3
    assert open_map(repository, first.snapshot)["height"].values.tolist() == [1.0] * 3
    assert open_map(repository, "2026-09")["height"].values.tolist() == [0.0] * 3
    for newest in ("2026-10", None):
        assert open_map(repository, newest)["sla"].values.tolist() == [2.0] * 5
        assert "height" not in open_map(repository, newest)


def test_the_tenth_release_of_a_month_follows_the_ninth(repository: Path) -> None:
    for number in range(1, 11):
        commit(repository, plain(number), f"r{number}")
    assert history(repository)[0].tag == "2026-10.10"
    assert open_map(repository, "2026-10")["height"].values.tolist() == [10.0] * 3


def test_a_release_is_committed_once(repository: Path) -> None:
    first = commit(repository, plain(1.0), "r1")
    commit(repository, plain(2.0), "r2")
    again = commit(repository, plain(1.0), "r1")
    assert again == first
    assert again.reused
    assert len(history(repository)) == 2


def test_a_commit_killed_before_its_tag_gets_the_tag(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(icechunk.Repository, "create_tag", killed)
        commit(repository, plain(1.0), "r1")
    opened = icechunk.Repository.open(_storage(repository))
    assert opened.list_tags() == set()
    assert history(repository)[0].tag == "2026-10.1"  # readable all the same
    assert commit(repository, plain(1.0), "r1").reused
    assert opened.lookup_tag("2026-10.1") == history(repository)[0].snapshot


def test_a_second_committer_fails_clearly(repository: Path) -> None:
    commit(repository, plain(1.0), "r1")
    with repository.with_name(f"{repository.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(VersionConflictError, match=r"committed by another process.*within 0 s"):
            commit(repository, plain(2.0), "r2")
        with pytest.raises(VersionConflictError):
            expire_and_collect(repository, LATER, wait_s=0.2)
        assert open_map(repository)["height"].values.tolist() == [1.0] * 3  # readers need no lock
    assert commit(repository, plain(2.0), "r2").tag == "2026-10.2"


def test_without_a_lock_one_of_two_committers_loses(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store has no lock: another commit lands while this one writes."""
    commit(repository, plain(0.0), "r0")
    session = icechunk.Repository.open(_storage(repository)).writable_session("main")
    plain(1.0).to_zarr(session.store, mode="w", consolidated=False)
    monkeypatch.setattr(icechunk.Repository, "writable_session", lambda *words: session)
    other = icechunk.Repository.open(_storage(repository))
    other.reset_branch("main", other.rewrite_manifests("other", branch="main"))
    with pytest.raises(VersionConflictError, match="another committer was first; run again"):
        commit(repository, plain(2.0), "r2")


def test_committers_at_once_wait_for_each_other(tmp_path: Path) -> None:
    assert drill("race", tmp_path, 3) == {"committed": 3}


def test_commits_killed_at_random_moments_leave_whole_versions(tmp_path: Path) -> None:
    counts = drill("kill", tmp_path, 8)
    assert counts["killed"] == 8
    assert counts["with files written"] >= 1


def test_half_a_creation_does_not_stand_in_the_way(repository: Path) -> None:
    aside = repository.with_name(f"{repository.name}.0123abcd.tmp")
    (aside / "snapshots").mkdir(parents=True)
    commit(repository, plain(1.0), "r1")
    assert not aside.exists()
    assert {x.name for x in repository.parent.iterdir()} == {repository.name, f"{repository.name}.lock"}


def test_expiry_keeps_tags_and_takes_what_a_killed_commit_left(repository: Path) -> None:
    for number in (1, 2):
        commit(repository, plain(number), f"r{number}")
    session = icechunk.Repository.open(_storage(repository)).writable_session("main")
    plain(3.0, size=4000).assign(more=("lat", np.random.default_rng(0).random(4000))).to_zarr(
        session.store, mode="w", consolidated=False
    )  # never committed
    gone = expire_and_collect(repository, LATER)
    assert gone.versions == ()
    assert gone.chunks >= 1
    assert gone.bytes > 8000
    assert open_map(repository, "2026-10.1")["height"].values.tolist() == [1.0] * 3
    assert open_map(repository, "2026-10.2")["height"].values.tolist() == [2.0] * 3


def test_expiry_of_tags_leaves_the_newest_of_the_latest_month(repository: Path) -> None:
    for number in (1, 2):
        commit(repository, plain(number), f"r{number}")
    commit(repository, plain(0.0), "r0", Month(2026, 9))  # a late release of an earlier month
    gone = expire_and_collect(repository, LATER, keep_tags=False)
    assert gone.versions == ("2026-10.1",)
    assert gone.snapshots == 1
    assert [version.tag for version in history(repository)] == ["2026-10.2", "2026-09.1"]
    assert open_map(repository)["height"].values.tolist() == [2.0] * 3
    assert open_map(repository, "2026-09")["height"].values.tolist() == [0.0] * 3
    # A number is not given a second time, and the next commit is whole.
    assert commit(repository, plain(4.0), "r4").tag == "2026-10.3"
    assert open_map(repository)["height"].values.tolist() == [4.0] * 3


def test_expiry_spares_what_is_younger(repository: Path) -> None:
    commit(repository, plain(1.0), "r1")
    border = commit(repository, plain(2.0), "r2").committed
    commit(repository, plain(3.0), "r3")
    assert expire_and_collect(repository, border, keep_tags=False).versions == ("2026-10.1",)
    assert expire_and_collect(repository, border - timedelta(days=1), keep_tags=False).versions == ()
    assert [version.tag for version in history(repository)] == ["2026-10.3", "2026-10.2"]


def test_expiry_wants_a_time_zone(repository: Path) -> None:
    with pytest.raises(ValueError, match="time zone"):
        expire_and_collect(repository, datetime(2026, 1, 1))


@pytest.mark.parametrize("name", ["2026-11", "2026-10.3", "main", ""])
def test_a_wrong_version_is_told_what_there_is(repository: Path, name: str) -> None:
    for number in (1, 2):
        commit(repository, plain(number), f"r{number}")
    with pytest.raises(UnknownVersionError, match=r"no version '.*There are: 2026-10\.2, 2026-10\.1$"):
        open_map(repository, name)
    with pytest.raises(UnknownVersionError):
        find_version(repository, name)


def test_no_repository_is_not_made_by_asking(repository: Path) -> None:
    for ask in (open_map, history, lambda address: expire_and_collect(address, LATER)):
        with pytest.raises(MissingInputError, match="found none"):
            ask(repository)
    assert not repository.parent.exists()


def test_a_folder_of_something_else_is_refused(repository: Path) -> None:
    repository.mkdir(parents=True)
    (repository / "notes.txt").write_text("mine")
    with pytest.raises(MissingInputError, match="found none"):
        open_map(repository)
    with pytest.raises(WorkspaceError, match="move away what lies there"):
        commit(repository, plain(1.0), "r1")
    assert (repository / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("address", ["memory://somewhere/versions", "nonsense://somewhere"])
def test_addresses_that_cannot_hold_versions(address: str) -> None:
    with pytest.raises(VersionsUnsupportedError, match="expected a local path or s3://"):
        commit_product(
            address, plain(1.0), release="r", month=Month(2026, 10), model_id="m", configuration="c", message=""
        )


def test_an_object_store_is_addressed_as_fsspec_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    told = {"endpoint_url": "http://127.0.0.1:9000", "key": "a", "secret": "b"}
    monkeypatch.setitem(fsspec.config.conf, "s3", told)
    storage = str(_storage("s3://bucket/plant-traits/versions/x"))
    for part in ("bucket=bucket,", "prefix=plant-traits/versions/x,", "endpoint_url=http://127.0.0.1:9000,"):
        assert part in storage
    assert "allow_http=true, force_path_style=true" in storage
