"""What a month's refresh costs against the first, full run: shards predicted, bytes of data read, processor time.

Runs the months of a virtual world one after the other, each in a process of its own, in one workspace: the first month
in full (training included), then months in which a share of the records is added, changed and retracted, each; last
the latest month once more, which finds everything made: what a run costs where nothing changed.

  shards predicted   shards whose predictions the month made itself
  bytes read         what reading calls returned from files of the workspace: sources, mirror, outputs of stages, maps
                     and scratch, from a disk or from memory, by the run and all that it starts; see ``bytes_read``. Not
                     libraries, their caches and Prefect's database (``home/``), nor what stand-in services read of the
                     virtual world, which no real run does
  processor time     user and system time of the run and of all that it starts: Dask's workers, Prefect's server, the
                     stand-in services, and the loading of libraries

The world itself is built before and not counted. Beside other work the same computation takes more processor seconds,
up to a third in our runs; shares of one run carry further than its seconds.

Stages are told apart by what they follow:

  changed   records that are new or changed: photos fetched, shards, covariates and features, predictions, moments
  snapshot  all records of the month, which a source hands over whole: reading, cleaning, names, merging, cells
  release   the maps and their pages: covariates on the grid, land cells, files, comparison, report; and the start of
            Prefect, of its tasks and of the libraries
  training  the training table and the model, which a refresh keeps

    python benchmarks/refresh_cost.py cost --profile demo --photos 10000 --change 0.01
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from bytes_read import await_tracer, reads, tracer, tracing

KINDS = ("changed", "snapshot", "release", "training")
CHANGED = {
    "photos", "shards", "covariates at the records", "photo features", "names gate", "predictions",
    "moments of shards", "sums of sub-cells",
}  # fmt: skip
SNAPSHOT = {
    "inputs", "trait records", "names to match", "names", "species traits", "observations", "votes", "moments",
    "cell estimates", "cells from photos and place", "cells weighed by effort", "records used",
}  # fmt: skip
TRAINING = {"training table", "cleaning rounds", "trained heads", "model page", "model", "names model"}
WORLD, BETWEEN, AROUND = "virtual world", "between the stages", "start and end"
NOT_DATA = ("home/", "steps/world/")
AGAIN = "again"
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


def spent() -> float:
    """Return processor seconds of this process and its descendants, but for Prefect's running server.

    What a process spent is counted while it runs, and after its end among its parent's children. The server is found
    among these in the end, and so counts to the start and end of the run.
    """
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(x.ru_utime + x.ru_stime for x in usage)
    for child in psutil.Process().children(recursive=True):
        try:
            if not any("uvicorn" in word for word in child.cmdline()):
                times = child.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
            continue
    return seconds


class Meter:
    """A display that notes what was spent while each stage ran, and between the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.until: list[tuple[float, str]] = []
        self.summaries: dict[str, Any] = {}
        self.last = spent()

    def begin(self, title: str) -> Callable[..., None]:
        """Take what was spent since the last stage as spent between the stages."""
        self.note(BETWEEN)
        return lambda finished, total, words="": None

    def end(self, title: str, artifact: Any) -> None:  # noqa: ANN401
        """Take what was spent as the stage's."""
        self.note(title)
        if not artifact.reused:
            self.summaries[title] = artifact.summary

    def note(self, title: str) -> None:
        """Add what was spent since the last note to a title, and note when it ended."""
        now = spent()
        self.seconds[title] = self.seconds.get(title, 0.0) + now - self.last
        self.until.append((time.time(), title))
        self.last = now


def run_month(workspace: str, profile: str, month: str, overlay: str) -> None:
    """Refresh one month in this process, and print what it spent as JSON."""
    # Prefect reads its settings when it is imported.
    from flows.environment import prepare_environment  # noqa: PLC0415

    prepare_environment(workspace)
    from flows.refresh import refresh  # noqa: PLC0415
    from tasks.showing import showing  # noqa: PLC0415

    meter = Meter()
    meter.note(AROUND)
    with showing(meter):
        refresh(profile=profile, month=month, workspace=workspace, catalog=[overlay])
    meter.note(BETWEEN)
    told = {"seconds": meter.seconds, "until": meter.until, "summaries": meter.summaries, "tracer": tracer()}
    print(json.dumps(told, default=str))


def measure(workspace: Path, profile: str, month: str, overlay: Path, *, traced: bool) -> dict[str, Any]:
    """Refresh one month in a process of its own; what the process spent beyond its stages is its start and end."""
    log = workspace / "reads.txt"
    held = {path.stem for path in (workspace / "steps").glob("*/*.json")}
    before, start = spent(), time.perf_counter()
    told = subprocess.run(  # noqa: S603
        [
            *(tracing(log) if traced else ()),
            *(sys.executable, __file__, str(workspace), "--one", month, "--profile", profile),
            *("--overlay", str(overlay)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    seconds = found["seconds"]
    seconds[AROUND] = spent() - before - sum(n for title, n in seconds.items() if title != AROUND)
    found["wall"] = time.perf_counter() - start
    if traced:
        await_tracer(found["tracer"])
        found["bytes"] = bytes_by_stage(log, workspace, found["until"])
        log.unlink()
    return found | new_members(workspace, month, held)


def bytes_by_stage(log: Path, workspace: Path, until: list[tuple[float, str]]) -> dict[str, dict[str, int]]:
    """Sum the bytes that were read by stage, and by what lies in the folder of the workspace they were read from."""
    ends = np.array([moment for moment, _ in until])
    titles = [title for _, title in until] + [AROUND]
    found: dict[str, dict[str, int]] = {}
    for moment, path, size in reads(log, workspace):
        if not path.startswith(NOT_DATA) and "/.services/" not in path:
            here = found.setdefault(titles[int(np.searchsorted(ends, moment))], {})
            folder = "/".join(path.split("/")[: 2 if path.startswith("steps/") else 1])
            here[folder] = here.get(folder, 0) + size
    return found


def new_members(workspace: Path, month: str, held: set[str]) -> dict[str, Any]:
    """Sum what a run's own encoding and predictions say, leaving out those whose keys were there before it."""
    (path,) = (workspace / "runs").glob(f"*/{month}/*.json")
    stages = json.loads(path.read_text())["stages"]
    out: dict[str, Any] = {}
    for stage, name in (("photo features", "new features"), ("predictions", "new predictions")):
        folder = workspace / "steps" / stages[stage]["step"] / stages[stage]["key"]
        listing = json.loads((folder / "members.json").read_text())
        own = [x for x in listing.values() if x["key"] not in held]
        counts: dict[str, dict[str, int]] = {"in": {}, "out": {}, "shards": {"shards": len(own)}}
        for entry in own:
            summary = json.loads((workspace / "steps" / entry["step"] / f"{entry['key']}.json").read_text())["summary"]
            for part in ("in", "out"):
                for what, n in summary.get(part, {}).items():
                    counts[part][what] = counts[part].get(what, 0) + n
        out[name] = counts
    return out


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
    """Return the figures of all runs as text: the three that a month is judged by, then counts, then all by stage."""
    first = next(iter(months))
    lines = [f"{'':34}" + "".join(f"{month:>12}{'':9}" for month in months)]
    units = {"processor seconds": lambda month: month["seconds"]}
    if "bytes" in months[first]:
        units["megabytes read"] = lambda month: {title: sum(x.values()) / 1e6 for title, x in month["bytes"].items()}
    lines.append(_line("shards predicted", [_dig(x, COUNTED["shards predicted"]) for x in months.values()]))
    for unit, of in units.items():
        every = [{title: n for title, n in of(month).items() if title != WORLD} for month in months.values()]
        lines.append(_line(unit, [sum(x.values()) for x in every]))
        without = [sum(n for title, n in x.items() if kind_of(title) != "training") for x in every]
        lines.append(_line("  without training", without))
    lines.append("")
    lines += [_line(name, [_dig(month, path) for month in months.values()]) for name, path in COUNTED.items()]
    for unit, of in units.items():
        lines += ["", unit]
        found = [of(month) for month in months.values()]
        titles = list(dict.fromkeys(title for x in found for title in x if title != WORLD))
        for kind in KINDS:
            own = [title for title in titles if kind_of(title) == kind]
            for title in sorted(own, key=lambda x: -found[0].get(x, 0.0)):
                lines.append(_line(f"    {title}", [x.get(title, 0.0) for x in found]))
            lines.append(_line(f"  {kind}", [sum(x.get(title, 0.0) for title in own) for x in found]))
    lines += ["", "wall-clock seconds  " + "  ".join(f"{m} {months[m]['wall']:.0f}" for m in months)]
    return "\n".join(lines)


def _line(name: str, values: Sequence[float]) -> str:
    shares = [""] + [f"{100 * value / values[0]:6.1f} %" if values[0] > 0 else "" for value in values[1:]]
    shown = [f"{v:12,}" if isinstance(v, int) else f"{v:12,.1f}" for v in values]
    return f"{name:34}" + "".join(f"{v}{s:>9}" for v, s in zip(shown, shares, strict=True))


def _dig(month: dict[str, Any], path: tuple[str, str, str]) -> int:
    source = month[path[0]] if path[0] in month else month["summaries"].get(path[0], {})
    return int(source.get(path[1], {}).get(path[2], 0))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="an empty folder")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--photos", type=int, help="of the world; the profile's by default")
    parser.add_argument("--months", type=int, default=1, help="after the first")
    parser.add_argument("--change", type=float, default=0.01, help="share added, changed and retracted, each, a month")
    parser.add_argument("--no-bytes", dest="bytes", action="store_false", help="do not trace what is read")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--overlay", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        run_month(str(told.workspace), told.profile, told.one, told.overlay)
        return
    changes = {"monthly_change": told.change, "later_months": told.months}
    if told.photos:
        changes["photos"] = told.photos
    overlay = told.workspace / "catalogue"
    profile = make_overlay(overlay, told.profile, changes)
    names = [f"{2026 + (9 + n) // 12}-{(9 + n) % 12 + 1:02d}" for n in range(told.months + 1)]
    months: dict[str, dict[str, Any]] = {}
    for name, month in [*zip(names, names, strict=True), (AGAIN, names[-1])]:
        months[name] = measure(told.workspace, profile, month, overlay, traced=told.bytes)
        print(f"{name}: {months[name]['wall']:.0f} s", file=sys.stderr, flush=True)
        (told.workspace / "cost.json").write_text(json.dumps(months), encoding="utf-8")
    print(table(months))


if __name__ == "__main__":
    main()
