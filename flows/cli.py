"""The command line, ``plant-traits``: runs, trainings, citations, the catalogue and versions of the maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_catalog import CatalogError
from flows.cli_catalog import Overlay, catalog_app, failure
from flows.cli_versions import versions_app
from flows.environment import prepare_environment
from plant_traits.errors import PlantTraitsError
from plant_traits.workspace import Workspace

if TYPE_CHECKING:
    from plant_traits.run_spec import RunSpec

app = typer.Typer(
    name="plant-traits",
    help="Global maps of plant traits from citizen-science photos, with an uncertainty in every cell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog_app, name="catalog")
app.add_typer(versions_app, name="versions")

GATES = ("on", "off")
LAYOUTS = ("plantnet300k", "inaturalist2019")

WorkspaceOption = Annotated[str, typer.Option(help="Folder or fsspec URL that keeps everything.")]
ProfileOption = Annotated[str, typer.Option(help="Run profile: demo, tiny, real, global or your own.")]
MonthOption = Annotated[str | None, typer.Option(help="YYYY-MM; the profile's by default.")]
RegionOption = Annotated[
    str | None, typer.Option(help="What is mapped: region name, west,south,east,north or a GeoJSON file.")
]
GridOption = Annotated[str | None, typer.Option(help="Grid of the maps, such as 1deg or 0.5deg.")]
ModelOption = Annotated[
    str,
    typer.Option(
        help="kept: the model of this lineage, trained where there is none that fits; new: one trained on this run's "
        "records; or the folder of a model."
    ),
]
NamesGateOption = Annotated[
    str,
    typer.Option(
        help="on: judge names by votes and photos where a names model is kept; off: take them as stated. The kept "
        "trait model is not trained anew for that: say --model new."
    ),
]
ScratchOption = Annotated[Path | None, typer.Option(help="Local folder for work in progress.")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of real files, or the mirror; else PLANT_TRAITS_REAL_DATA or PLANT_TRAITS_MIRROR."),
]
DaskOption = Annotated[str | None, typer.Option(help="An existing Dask scheduler; else a local cluster.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Say what would be asked of whom; ask nothing.")]
FaultsOption = Annotated[
    float | None, typer.Option(help="Share of requests that the virtual world's stand-in services spoil.")
]


@app.command()
def refresh(
    profile: ProfileOption,
    month: MonthOption = None,
    region: RegionOption = None,
    grid: GridOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    dask_address: DaskOption = None,
    model: ModelOption = "kept",
    names_gate: NamesGateOption = "on",
) -> None:
    """Refresh the maps of one month and region; what is unchanged is not computed again."""
    told = _told(profile, month, region, workspace, scratch, data, catalog, faults)
    _check_gate(names_gate)
    more = {"grid": grid, "dask_address": dask_address, "model": model, "names_gate": names_gate}
    _run("refresh", {**told, **more})


@app.command()
def backfill(
    profile: ProfileOption,
    region: Annotated[
        str, typer.Option(help="What is collected: region name, west,south,east,north or a GeoJSON file.")
    ],
    months: Annotated[list[str], typer.Option(help="YYYY-MM or a range, such as 2026-08..2026-10; may be repeated.")],
    mapped: Annotated[str | None, typer.Option(help="What is mapped; the profile's region by default.")] = None,
    grid: GridOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    dask_address: DaskOption = None,
    model: ModelOption = "kept",
    names_gate: NamesGateOption = "on",
    plan: PlanOption = False,
) -> None:
    """Collect the records of a region for months, into the state of the maps, and refresh them month by month."""
    _check_gate(names_gate)
    told = _told(profile, None, region, workspace, scratch, data, catalog, faults)
    del told["month"]
    more = {
        "mapped": mapped,
        "months": months,
        "grid": grid,
        "dask_address": dask_address,
        "model": model,
        "names_gate": names_gate,
    }
    if plan:
        _show_plan({**told, **more})
    else:
        _run("backfill", {**told, **more})


@app.command()
def acquire(
    profile: ProfileOption,
    month: MonthOption = None,
    region: RegionOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    plan: PlanOption = False,
) -> None:
    """Fetch what a refresh of one month and region needs into the mirror; what is there is not asked for again."""
    told = _told(profile, month, region, workspace, scratch, data, catalog, faults)
    if plan:
        _show_plan(told)
    else:
        _run("acquire", told)


@app.command()
def train(
    profile: ProfileOption,
    month: MonthOption = None,
    region: RegionOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    dask_address: DaskOption = None,
) -> None:
    """Train the model alone: weights, card, learning curves and held-out scores; a refresh finds it there."""
    told = _told(profile, month, region, workspace, scratch, data, catalog, faults)
    _run("train", {**told, "dask_address": dask_address})


@app.command(name="train-names")
def train_names(
    profile: ProfileOption,
    month: MonthOption = None,
    region: RegionOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    dask_address: DaskOption = None,
    images: Annotated[
        Path | None, typer.Option(help="A set of labelled images to train on, in place of the run's photos.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="What that set is: plantnet300k or inaturalist2019.")] = None,
) -> None:
    """Train the names model that the gate of names judges observations by; a refresh finds it there."""
    if (images is None) != (layout is None) or layout not in (None, *LAYOUTS):
        raise failure(
            f"labelled images: expected a folder and its layout ({', '.join(LAYOUTS)}), found {images} and {layout}; "
            "give both or neither"
        )
    told = _told(profile, month, region, workspace, scratch, data, catalog, faults)
    folder = None if images is None else str(images)
    _run("train_names", {**told, "dask_address": dask_address, "images": folder, "layout": layout})


@app.command()
def evaluate(
    profile: ProfileOption,
    month: MonthOption = None,
    region: RegionOption = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    data: DataOption = None,
    catalog: Overlay = None,
    faults: FaultsOption = None,
    dask_address: DaskOption = None,
    variant: Annotated[list[str] | None, typer.Option(help="A variant to train; all by default.")] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="A further photo encoder, or several joined by +.")] = None,
) -> None:
    """Train variants of the model and compare them on held-out regions, species and photos."""
    told = _told(profile, month, region, workspace, scratch, data, catalog, faults)
    _run("evaluate", {**told, "dask_address": dask_address, "variants": variant, "encoders": encoder})


@app.command()
def demo(workspace: WorkspaceOption = "workspace") -> None:
    """Map the embedded virtual world: the whole pipeline, offline, in a few minutes."""
    _run("refresh", {"profile": "demo", "workspace": workspace})


@app.command()
def cite(
    release: Annotated[Path, typer.Argument(help="A release's folder.")],
    workspace: WorkspaceOption = "workspace",
    post: Annotated[bool, typer.Option("--post", help="Register it at GBIF and print its DOI.")] = False,
) -> None:
    """Show which records a release is made of, and register them at GBIF as a derived data set: once."""
    if "://" in workspace:
        raise failure(f"workspace {workspace}: what was registered is noted in a local folder; name one")
    prepare_environment(workspace)
    from tasks.citation import post_citation, read_citation  # noqa: PLC0415

    try:
        citation = read_citation(release)
        console = Console()
        table = Table("source", "data set", "records", box=None)
        for row in citation.records:
            table.add_row(row.source, row.dataset_key, f"{row.n_records:,}")
        console.print(table)
        console.print(f"ready to post: {citation.body or 'no; name `published_at` in the profile'}", soft_wrap=True)
        if post:
            console.print(f"DOI: {post_citation(citation, Path(workspace))}")
    except PlantTraitsError as error:
        raise failure(str(error)) from error


def _check_gate(names_gate: str) -> None:
    if names_gate not in GATES:
        raise failure(f"names gate: expected {' or '.join(GATES)}, found {names_gate!r}; say one of them")


def _told(
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


def _run(flow: str, words: Mapping[str, Any]) -> None:
    try:
        # Wrong words and an unusable workspace are told at once, before anything is imported that writes there.
        scratch = words.get("scratch")
        Workspace.open(words["workspace"], None if scratch is None else Path(scratch))
        prepare_environment(words["workspace"])
        _run_flow(flow, words, Console())
    except (PlantTraitsError, CatalogError) as error:
        raise failure(str(error)) from error


def _run_flow(name: str, words: Mapping[str, Any], console: Console) -> None:
    # Prefect and matplotlib read their settings when they are imported.
    from flows.display import TerminalDisplay, closing_lines  # noqa: PLC0415
    from tasks.context import showing  # noqa: PLC0415

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


def _show_plan(words: Mapping[str, Any]) -> None:
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
