"""What a month's refresh costs against the first, full run: photos and shards, bytes read and processor time, by stage.

Runs the months of a virtual world one after the other, each in a process of its own, in one workspace: the first month
in full (training included), then months in which a share of the records is added, changed and retracted. Processor time
is user and system time of the run and all its children (Dask's workers, Prefect's server, the stand-in services); bytes
are those that read calls returned (``rchar`` of /proc/self/io, children included), whether they came from a disk, the
page cache or a pipe. The world itself is built before and not counted.

Stages are told apart by what they follow:

  changed   records that are new or changed: photos fetched, shards, covariates and features, predictions, moments
  snapshot  all records of the month, which a source hands over whole: reading, cleaning, names, merging, cells
  release   the maps and their pages: covariates on the grid, land cells, files, comparison, report; and the start of
            Prefect, of its tasks and of the libraries
  training  the training table and the model, which a refresh keeps

    python benchmarks/refresh_cost.py cost --profile demo --months 2 --change 0.01
    python benchmarks/refresh_cost.py --plan 40000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import yaml

from plant_traits.observations.increments import plan_increment
from plant_traits.schemas import SHARD_ROW

KINDS = ("changed", "snapshot", "release", "training")
CHANGED = {
    "photos", "shards", "covariates at the records", "photo features", "predictions", "moments of shards",
    "sums of sub-cells",
}  # fmt: skip
SNAPSHOT = {
    "inputs", "trait records", "names to match", "names", "species traits", "observations", "moments",
    "cell estimates", "cells from photos and place", "cells weighed by effort", "records used",
}  # fmt: skip
TRAINING = {"training table", "cleaning rounds", "trained heads", "model page", "model"}
WORLD = "virtual world"
COUNTED = {
    "shards": ("shards", "out", "shards"),
    "shards cut": ("shards", "out", "shards cut"),
    "shards touched": ("shards", "out", "shards of which rows were retracted or changed"),
    "rows cut": ("shards", "out", "rows cut as new or changed"),
    "photos encoded": ("new features", "out", "photos encoded"),
    "records predicted": ("new predictions", "in", "records"),
    "shards predicted": ("new predictions", "shards", "shards"),
}


def kind_of(title: str) -> str:
    """Return what a stage follows."""
    for kind, titles in (("changed", CHANGED), ("snapshot", SNAPSHOT), ("training", TRAINING)):
        if title in titles:
            return kind
    return WORLD if title == WORLD else "release"


def spent() -> tuple[float, int]:
    """Return processor seconds and bytes read of this process and its descendants, but for Prefect's running server.

    What a process spent is counted while it runs, and after its end among its parent's children. The server is found
    among these in the end, and so counts to the start and end of the run.
    """
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    read = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    seconds, size = sum(x.ru_utime + x.ru_stime for x in usage), int(read["rchar"])
    for child in psutil.Process().children(recursive=True):
        try:
            if not any("uvicorn" in word for word in child.cmdline()):
                times = child.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                size += child.io_counters().read_chars
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
            continue
    return seconds, size


class Meter:
    """A display that notes what was spent while each stage ran, and between the stages."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = {}
        self.summaries: dict[str, Any] = {}
        self.last = spent()

    def begin(self, title: str) -> Callable[..., None]:
        """Take what was spent since the last stage as spent between the stages."""
        self.note("between the stages")
        return lambda finished, total, words="": None

    def end(self, title: str, artifact: Any) -> None:  # noqa: ANN401
        """Take what was spent as the stage's."""
        self.note(title)
        self.summaries[title] = artifact.summary

    def note(self, title: str) -> None:
        """Add what was spent since the last note to a title."""
        now = spent()
        entry = self.stages.setdefault(title, [0.0, 0.0])
        entry[0] += now[0] - self.last[0]
        entry[1] += now[1] - self.last[1]
        self.last = now


def run_month(workspace: str, profile: str, month: str, overlay: str) -> None:
    """Refresh one month in this process, and print what it spent as JSON."""
    # Prefect reads its settings when it is imported.
    from flows.environment import prepare_environment  # noqa: PLC0415

    prepare_environment(workspace)
    from flows.refresh import refresh  # noqa: PLC0415
    from tasks.context import showing  # noqa: PLC0415

    meter = Meter()
    with showing(meter):
        refresh(profile=profile, month=month, workspace=workspace, catalog=[overlay])
    meter.note("between the stages")
    print(json.dumps({"stages": meter.stages, "summaries": meter.summaries}, default=str))


def measure(workspace: Path, profile: str, month: str, overlay: Path) -> dict[str, Any]:
    """Refresh one month in a process of its own; what the process spent beyond its stages is its start and end."""
    before, start = spent(), time.perf_counter()
    command = [
        sys.executable,
        __file__,
        "--one",
        month,
        str(workspace),
        "--profile",
        profile,
        "--overlay",
        str(overlay),
    ]
    told = subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    after = spent()
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    stages = found["stages"]
    total = [after[0] - before[0], float(after[1] - before[1])]
    stages["start and end"] = [total[k] - sum(x[k] for x in stages.values()) for k in range(2)]
    found["wall"] = time.perf_counter() - start
    return found | new_members(workspace, month)


def new_members(workspace: Path, month: str) -> dict[str, Any]:
    """Sum what the month's own encoding and predictions say, leaving out what an earlier month had made."""
    records = {
        path.parent.name: json.loads(path.read_text()) for path in sorted((workspace / "runs").glob("*/*/*.json"))
    }
    earlier = [record for name, record in records.items() if name < month]
    out: dict[str, Any] = {}
    for stage, name in (("photo features", "new features"), ("predictions", "new predictions")):
        had = {entry["key"] for record in earlier for entry in _listing(workspace, record, stage).values()}
        own = [x for x in _listing(workspace, records[month], stage).values() if x["key"] not in had]
        counts: dict[str, dict[str, int]] = {"in": {}, "out": {}, "shards": {"shards": len(own)}}
        for entry in own:
            summary = json.loads((workspace / "steps" / entry["step"] / f"{entry['key']}.json").read_text())["summary"]
            for part in ("in", "out"):
                for what, n in summary.get(part, {}).items():
                    counts[part][what] = counts[part].get(what, 0) + n
        out[name] = counts
    return out


def _listing(workspace: Path, record: dict[str, Any], stage: str) -> dict[str, Any]:
    entry = record["stages"][stage]
    listing: dict[str, Any] = json.loads(
        (workspace / "steps" / entry["step"] / entry["key"] / "members.json").read_text()
    )
    return listing


def make_overlay(folder: Path, profile: str, changes: dict[str, Any]) -> str:
    """Write a profile whose world changes as asked, and return its id."""
    built_in = Path(__file__).parents[1] / "data_catalog" / "profiles" / f"{profile}.yaml"
    content = yaml.safe_load(built_in.read_text(encoding="utf-8"))
    content["id"] = f"{profile}-cost"
    content["inputs"]["world"] |= changes
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "profiles" / "cost.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(content["id"])


def table(months: dict[str, dict[str, Any]]) -> str:
    """Return the figures of all months as text: counts, then seconds and megabytes by stage and by kind."""
    first = next(iter(months))
    lines = [f"{'':34}" + "".join(f"{month:>12}{'':9}" for month in months)]
    for name, path in COUNTED.items():
        values = [_dig(months[month], path) for month in months]
        shares = [""] + [f"{100 * value / values[0]:6.1f} %" if values[0] else "" for value in values[1:]]
        lines.append(f"{name:34}" + "".join(f"{v:12,}{s:>9}" for v, s in zip(values, shares, strict=True)))
    for column, (unit, scale) in enumerate((("processor seconds", 1.0), ("megabytes read", 1e6))):
        lines += ["", unit]
        titles = list(dict.fromkeys(title for month in months.values() for title in month["stages"] if title != WORLD))
        for kind in KINDS:
            own = [title for title in titles if kind_of(title) == kind]
            for title in sorted(own, key=lambda x: -months[first]["stages"].get(x, [0, 0])[column]):
                lines.append(_line(f"    {title}", [_value(months[m], [title], column, scale) for m in months]))
            lines.append(_line(f"  {kind}", [_value(months[m], own, column, scale) for m in months]))
        lines.append(_line("  all", [_value(months[m], titles, column, scale) for m in months]))
    lines += ["", "wall-clock seconds  " + "  ".join(f"{m} {months[m]['wall']:.0f}" for m in months)]
    return "\n".join(lines)


def _value(month: dict[str, Any], titles: list[str], column: int, scale: float) -> float:
    return float(sum(month["stages"].get(title, [0.0, 0.0])[column] for title in titles)) / scale


def _line(name: str, values: list[float]) -> str:
    shares = [""] + [f"{100 * value / values[0]:6.1f} %" if values[0] > 0 else "" for value in values[1:]]
    return f"{name:34}" + "".join(f"{v:12,.1f}{s:>9}" for v, s in zip(values, shares, strict=True))


def _dig(month: dict[str, Any], path: tuple[str, str, str]) -> int:
    source = month[path[0]] if path[0] in month else month["summaries"].get(path[0], {})
    return int(source.get(path[1], {}).get(path[2], 0))


def plan(rows: int, change: float, months: int) -> None:
    """Print how many shards a month cuts and touches among many records, by the plan alone: no photo is there."""
    random = np.random.default_rng(1)
    # Records crowd: the share of a tile falls with its rank, as it does among the tiles of iNaturalist.
    share = 1 / np.arange(1, 331) ** 1.0
    tiles = random.permutation(36 * 18)[:330]

    def draw(n: int, first: int) -> pd.DataFrame:
        tile = random.choice(tiles, n, p=share / share.sum())
        ids = np.char.add("gbif:d:", np.arange(first, first + n).astype(str))
        frame = pd.DataFrame({"observation_id": ids, "photo_id": ids})
        frame["latitude"] = -90 + 10 * (tile // 36) + random.uniform(0, 10, n)
        frame["longitude"] = -180 + 10 * (tile % 36) + random.uniform(0, 10, n)
        for field in SHARD_ROW:
            if field.name not in frame:
                frame[field.name] = 1.0 if pa.types.is_floating(field.type) else "x"
        return frame

    now = draw(rows, 0)
    start = time.perf_counter()
    made = plan_increment(now, 4096)
    print(f"{rows:,} rows: {len(made.shards):,} shards, {time.perf_counter() - start:.0f} s")
    full = len(made.shards)
    for month in range(1, months + 1):
        count = round(change * rows)
        order = random.permutation(len(now))
        now.loc[order[:count], "coordinate_uncertainty_m"] = 1.0 + month
        now = pd.concat([now.drop(index=order[count : 2 * count]), draw(count, month * 10**9)], ignore_index=True)
        start = time.perf_counter()
        made = plan_increment(now, 4096, made)
        cut, touched = made.shards["new"].sum(), (made.shards["live_hash"] != made.shards["shard"]).sum()
        print(
            f"month {month}: {len(made.shards):,} shards, {cut:,} cut ({100 * cut / full:.1f} %), {touched:,} not "
            f"wholly live, {made.rows_new:,} rows new or changed, {made.rows_compacted:,} compacted, "
            f"{time.perf_counter() - start:.0f} s"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", nargs="?", type=Path, help="an empty folder")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--photos", type=int, help="of the world; the profile's by default")
    parser.add_argument("--months", type=int, default=1, help="after the first")
    parser.add_argument("--change", type=float, default=0.01, help="share added, changed and retracted, each, a month")
    parser.add_argument("--plan", type=int, help="plan the shards of that many records alone")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--overlay", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.plan:
        plan(told.plan, told.change, told.months)
        return
    if told.one:
        run_month(str(told.workspace), told.profile, told.one, told.overlay)
        return
    changes = {"monthly_change": told.change, "later_months": told.months}
    if told.photos:
        changes["photos"] = told.photos
    overlay = told.workspace / "catalogue"
    profile = make_overlay(overlay, told.profile, changes)
    months: dict[str, dict[str, Any]] = {}
    for number in range(told.months + 1):
        month = f"{2026 + (9 + number) // 12}-{(9 + number) % 12 + 1:02d}"
        months[month] = measure(told.workspace, profile, month, overlay)
        print(f"{month}: {months[month]['wall']:.0f} s", file=sys.stderr, flush=True)
        (told.workspace / "cost.json").write_text(json.dumps(months), encoding="utf-8")
    print(table(months))


if __name__ == "__main__":
    main()
