"""Start a flow for the words of a command line, or say what it would ask: what all commands that run share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from data_catalog import CatalogError
from flows.cli_catalog import failure
from flows.environment import prepare_environment
from plant_traits.errors import PlantTraitsError
from plant_traits.workspace import Workspace

if TYPE_CHECKING:
    from plant_traits.run_spec import RunSpec


def gather_words(
    profile: str,
    month: str | None,
    region: str | None,
    workspace: str,
    scratch: Path | None,
    data: Path | None,
    catalog: list[Path] | None,
    faults: float | None,
) -> dict[str, Any]:
    """Gather the words that every run takes."""
    return {
        "profile": profile,
        "month": month,
        "region": region,
        "workspace": workspace,
        "scratch": None if scratch is None else str(scratch),
        "data": None if data is None else str(data),
        "catalog": [str(folder) for folder in catalog or ()],
        "faults": faults,
    }


def run_flow(flow: str, words: Mapping[str, Any]) -> None:
    """Run a flow by name and show its stages; end the command where it fails for a reason that can be told."""
    try:
        # Wrong words and an unusable workspace are told at once, before anything is imported that writes there.
        scratch = words.get("scratch")
        Workspace.open(words["workspace"], None if scratch is None else Path(scratch))
        prepare_environment(words["workspace"])
        _called(flow, words, Console())
    except (PlantTraitsError, CatalogError) as error:
        raise failure(str(error)) from error


def _called(name: str, words: Mapping[str, Any], console: Console) -> None:
    # Prefect and matplotlib read their settings when they are imported.
    from flows.display import TerminalDisplay, closing_lines  # noqa: PLC0415
    from tasks.showing import showing  # noqa: PLC0415

    flow = getattr(import_module(f"flows.{name}"), name)
    display = TerminalDisplay(console)
    run = _specs(words)[-1].name
    if "PREFECT_API_URL" not in os.environ:
        console.print("[dim]Starting Prefect's own server for this run (about 20 s) ...[/]")
    with showing(display), display.live():
        made = flow(**words)
    addresses = made if isinstance(made, list) else [made]
    display.close(run, closing_lines(name, str(addresses[-1])))


def _specs(words: Mapping[str, Any]) -> list[RunSpec]:
    """Read the words of a run, or of a backfill: one run for each month that it collects."""
    from tasks.context import RunWords, read_backfill  # noqa: PLC0415

    said = {field.name: words[field.name] for field in fields(RunWords) if field.name in words}
    said["catalog"] = tuple(words.get("catalog", ()))
    if "months" not in words:
        return [RunWords(**said).resolve()]
    said["region"] = words["mapped"]  # what is collected is another word
    spec, collected, months = read_backfill(RunWords(**said), words["region"], words["months"])
    return [replace(spec, month=month, collected=(collected,)) for month in months]


def show_plan(words: Mapping[str, Any]) -> None:
    """Print what each acquisition would ask, and how long its hosts' limits make that last at least."""
    prepare_environment(words["workspace"])
    from plant_traits.stages.acquisition import plan_acquisitions  # noqa: PLC0415

    try:
        specs = _specs(words)
        mirror = specs[0].data_root or Path(words["workspace"]) / "mirror"
        planned = {entry.item.into: entry for spec in specs for entry in plan_acquisitions(spec, mirror)}
    except (PlantTraitsError, CatalogError) as error:
        raise failure(str(error)) from error
    table = Table("source", "plug-in", "into", "requests", "bytes", box=None)
    for entry in planned.values():
        counts = ["?" if n is None else f"{n:,}" for n in (entry.plan.requests, entry.plan.bytes)]
        table.add_row(entry.item.source, entry.item.plugin, entry.item.into, *counts)
    console = Console()
    console.print(table)
    limits = Table("host", "requests a minute", "requests a day", "GB an hour", "GB a day", box=None)
    for host in specs[0].hosts.values():
        budget = [f"{x / 1e9:g}" if x else "-" for x in (host.bytes_per_hour, host.bytes_per_day)]
        limits.add_row(host.host, f"{host.requests_per_minute:g}", str(host.requests_per_day or "-"), *budget)
    console.print(limits)
