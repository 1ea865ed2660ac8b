"""The command line, ``plant-traits``: runs, trainings, citations, the catalogue and versions of the maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from data_catalog import ImageLayout, NamesGate
from flows.cli_catalog import Overlay, catalog_app, failure
from flows.cli_running import gather_words, run_flow, show_plan
from flows.cli_versions import versions_app
from flows.environment import prepare_environment
from plant_traits.errors import PlantTraitsError

app = typer.Typer(
    name="plant-traits",
    help="Global maps of plant traits from citizen-science photos, with an uncertainty in every cell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog_app, name="catalog")
app.add_typer(versions_app, name="versions")

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
    NamesGate,
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
    told = gather_words(profile, month, region, workspace, scratch, data, catalog, faults)
    more = {"grid": grid, "dask_address": dask_address, "model": model, "names_gate": names_gate}
    run_flow("refresh", {**told, **more})


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
    told = gather_words(profile, None, region, workspace, scratch, data, catalog, faults)
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
        show_plan({**told, **more})
    else:
        run_flow("backfill", {**told, **more})


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
    told = gather_words(profile, month, region, workspace, scratch, data, catalog, faults)
    if plan:
        show_plan(told)
    else:
        run_flow("acquire", told)


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
    told = gather_words(profile, month, region, workspace, scratch, data, catalog, faults)
    run_flow("train", {**told, "dask_address": dask_address})


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
    layout: Annotated[ImageLayout | None, typer.Option(help="What that set is.")] = None,
) -> None:
    """Train the names model that the gate of names judges observations by; a refresh finds it there."""
    from plant_traits.sources.labelled_images import check_choice  # noqa: PLC0415

    try:
        check_choice(images, layout)
    except PlantTraitsError as error:
        raise failure(str(error)) from error
    told = gather_words(profile, month, region, workspace, scratch, data, catalog, faults)
    folder = None if images is None else str(images)
    run_flow("train_names", {**told, "dask_address": dask_address, "images": folder, "layout": layout})


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
    told = gather_words(profile, month, region, workspace, scratch, data, catalog, faults)
    run_flow("evaluate", {**told, "dask_address": dask_address, "variants": variant, "encoders": encoder})


@app.command()
def demo(workspace: WorkspaceOption = "workspace") -> None:
    """Map the embedded virtual world: the whole pipeline, offline, in a few minutes."""
    run_flow("refresh", {"profile": "demo", "workspace": workspace})


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
