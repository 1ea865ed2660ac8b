"""Commit versions in processes that are killed at random moments, or that commit at once; check after each.

By hand: ``python tests/maps/product/commit_drill.py kill FOLDER --moments 50``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path

import dask.array  # noqa: F401  what a commit would import, so that a kill meets the commit and not an import
import distributed  # noqa: F401
import numpy as np
import xarray as xr

from maps.product.versions import MapVersion, commit_product, history, open_map
from plant_traits.month import Month

MONTH = Month(2026, 10)
OTHERS_SEEN = 100


def product(number: int) -> xr.Dataset:
    """A product of its own values; they do not compress, as icechunk keeps small chunks in no file of their own."""
    chance = np.random.default_rng(number)
    layers = {f"layer_{i}": (("lat", "lon"), chance.random((60, 120), dtype=np.float32)) for i in range(12)}
    coordinates = {"lat": np.arange(60.0), "lon": np.arange(120.0)}
    return xr.Dataset(layers, coords=coordinates, attrs={"number": number}).chunk({"lat": 30, "lon": 60})


def commit(folder: Path, number: int) -> MapVersion:
    return commit_product(
        folder,
        product(number),
        release=f"release-{number}",
        month=MONTH,
        model_id="m",
        configuration="c",
        message=str(number),
        wait_s=60,
    )


def commit_telling(folder: Path, number: int, told: int) -> MapVersion:
    """Commit, and say through a pipe when the first object is about to be written."""
    write = xr.Dataset.to_zarr

    def to_zarr(dataset: xr.Dataset, *words: object, **named: object) -> object:
        os.write(told, b"!")
        return write(dataset, *words, **named)

    xr.Dataset.to_zarr = to_zarr
    return commit(folder, number)


def whole(folder: Path, wanted: Set[int], perhaps: Set[int] = frozenset()) -> set[int]:
    """Check that the versions are the wanted ones, perhaps others, each once and whole; return the others."""
    versions = history(folder) if wanted or folder.is_dir() else []
    numbers = [int(version.message) for version in versions]
    if len(set(numbers)) != len(numbers) or len({version.tag for version in versions}) != len(versions):
        raise SystemExit(f"a version twice: {versions}")
    if not wanted <= set(numbers) <= wanted | perhaps:
        raise SystemExit(f"expected {wanted}, perhaps {perhaps}, found {numbers}")
    # Old versions are read now and then: each is read after the kill that followed it.
    for number in sorted(numbers)[-2:] + sorted(numbers)[:1]:
        tag = next(version.tag for version in versions if version.message == str(number))
        xr.testing.assert_identical(open_map(folder, tag).load(), product(number).load())
    if versions:
        latest = open_map(folder).load()
        xr.testing.assert_identical(latest, product(latest.attrs["number"]).load())
    return set(numbers) - wanted


def start(work: Callable[[], object]) -> int:
    """Run in a fork and return its process id; this process itself never starts icechunk's threads."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            others = work()
            code = OTHERS_SEEN if isinstance(others, set) and others else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def ended(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, OTHERS_SEEN, -signal.SIGKILL):
        raise SystemExit(f"a process failed with {code}")
    return code


def files(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*"))


def kill_at_random(folder: Path, moments: int, seed: int) -> dict[str, int]:
    """Kill commits until so many were killed; every fifth commit is the first one of its repository.

    Two of three moments are counted from the first object that is written, the others from the commit's start.
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter(
        dict.fromkeys(("killed", "with files written", "committed all the same", "ended"), 0)
    )
    longest: dict[tuple[bool, bool], float] = {}  # seconds, by kind of moment; follows what is seen
    versions: set[int] = set()
    place = folder / "versions-0"
    for number in range(20 * moments):
        if counts["killed"] == moments:
            break
        first, writing = number % 5 == 0, number % 3 > 0
        if first:
            place, versions = folder / f"versions-{number}", set()
        before = files(folder)
        hears, tells = os.pipe()
        child = start(partial(commit_telling, place, number, tells))
        os.close(tells)
        if writing:
            os.read(hears, 1)
        bound = longest.setdefault((first, writing), 0.1)
        time.sleep(chance.uniform(0, bound))
        os.kill(child, signal.SIGKILL)
        killed = ended(child) == -signal.SIGKILL
        os.close(hears)
        longest[first, writing] = bound * (1.1 if killed else 0.85)
        seen = ended(start(partial(whole, place, versions, {number}))) == OTHERS_SEEN
        counts["killed" if killed else "ended"] += 1
        counts["with files written"] += killed and files(folder) > before
        counts["committed all the same"] += killed and seen
        ended(start(partial(commit, place, number)))
        versions = versions | {number}
        ended(start(partial(whole, place, versions)))
    return {**counts, "staging files left": sum(1 for _ in folder.rglob("*#*"))}


def commit_at_once(folder: Path, committers: int) -> dict[str, int]:
    """Commit different releases from several processes at once."""
    children = [start(partial(commit, folder / "versions", number)) for number in range(committers)]
    for child in children:
        ended(child)
    ended(start(partial(whole, folder / "versions", set(range(committers)))))
    return {"committed": committers}


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("what", choices=("kill", "race"))
    words.add_argument("folder", type=Path)
    words.add_argument("--moments", type=int, default=50)
    words.add_argument("--seed", type=int, default=0)
    told = words.parse_args()
    done = (
        kill_at_random(told.folder, told.moments, told.seed)
        if told.what == "kill"
        else commit_at_once(told.folder, told.moments)
    )
    print(json.dumps(done))
