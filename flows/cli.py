"""The command line: ``plant-traits demo``, ``refresh`` and ``catalog``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_catalog import Catalog, CatalogError, load_catalog
from flows.environment import prepare_environment
from plant_traits.errors import PlantTraitsError
from plant_traits.workspace import Workspace

app = typer.Typer(
    name="plant-traits",
    help="Global maps of plant traits from citizen-science photos, with an uncertainty in every cell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
catalog_app = typer.Typer(help="What can be mapped, from what, and compared with what.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")

KINDS = ("traits", "sources", "products", "regions", "profiles")

Overlay = Annotated[
    list[Path] | None, typer.Option("--catalog", help="Folder whose entries are laid over the built-in catalogue.")
]
WorkspaceOption = Annotated[str, typer.Option(help="Folder or fsspec URL that keeps everything.")]


@app.command()
def refresh(
    profile: Annotated[str, typer.Option(help="Run profile: demo, tiny, real, global or your own.")],
    month: Annotated[str | None, typer.Option(help="YYYY-MM; the profile's by default.")] = None,
    region: Annotated[str | None, typer.Option(help="Region name, or west,south,east,north.")] = None,
    grid: Annotated[str | None, typer.Option(help="Grid of the maps, such as 1deg or 0.5deg.")] = None,
    workspace: WorkspaceOption = "workspace",
    scratch: Annotated[Path | None, typer.Option(help="Local folder for work in progress.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of real files; else PLANT_TRAITS_REAL_DATA or PLANT_TRAITS_MIRROR.")
    ] = None,
    catalog: Overlay = None,
    dask_address: Annotated[str | None, typer.Option(help="An existing Dask scheduler; else a local cluster.")] = None,
) -> None:
    """Refresh the maps of one month and region; what is unchanged is not computed again."""
    _run(
        {
            "profile": profile,
            "month": month,
            "region": region,
            "grid": grid,
            "workspace": workspace,
            "scratch": None if scratch is None else str(scratch),
            "data": None if data is None else str(data),
            "catalog": [str(folder) for folder in catalog or ()],
            "dask_address": dask_address,
        }
    )


@app.command()
def demo(workspace: WorkspaceOption = "workspace") -> None:
    """Map the embedded virtual world: the whole pipeline, offline, in a few minutes."""
    _run({"profile": "demo", "workspace": workspace})


@catalog_app.command("list")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all by default.")] = None,
    catalog: Overlay = None,
) -> None:
    """List the catalogue's entries."""
    entries = _catalog(catalog)
    if kind is not None and kind not in KINDS:
        raise _failure(f"unknown kind {kind!r}; the catalogue has {', '.join(KINDS)}")
    table = Table("kind", "id", "what it is", box=None)
    for name in KINDS if kind is None else (kind,):
        for entry_id, entry in getattr(entries, name).items():
            table.add_row(name, entry_id, getattr(entry, "title", getattr(entry, "name", "")))
    Console().print(table)


@catalog_app.command()
def show(entry_id: Annotated[str, typer.Argument(metavar="ID")], catalog: Overlay = None) -> None:
    """Show an entry as YAML."""
    entries = _catalog(catalog)
    found = [(kind, getattr(entries, kind)[entry_id]) for kind in KINDS if entry_id in getattr(entries, kind)]
    if not found:
        raise _failure(f"the catalogue has no entry {entry_id!r}; `plant-traits catalog list` lists them")
    for kind, entry in found:
        typer.echo(f"# {kind}")
        typer.echo(yaml.safe_dump(entry.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110))


@catalog_app.command()
def check(catalog: Overlay = None) -> None:
    """Check that every entry is valid and fits the others."""
    entries = _catalog(catalog)
    counts = ", ".join(f"{len(getattr(entries, kind))} {kind}" for kind in KINDS)
    typer.echo(f"The catalogue holds: {counts}.")


def _run(words: Mapping[str, Any]) -> None:
    try:
        # Wrong words and an unusable workspace are told at once, before anything is imported that writes there.
        scratch = words.get("scratch")
        Workspace.open(words["workspace"], None if scratch is None else Path(scratch))
        prepare_environment(words["workspace"])
        _refresh(words, Console())
    except (PlantTraitsError, CatalogError) as error:
        raise _failure(str(error)) from error


def _refresh(words: Mapping[str, Any], console: Console) -> None:
    # Prefect and matplotlib read their settings when they are imported.
    from flows.display import TerminalDisplay  # noqa: PLC0415
    from flows.refresh import refresh as flow  # noqa: PLC0415
    from tasks.context import RunWords, showing  # noqa: PLC0415

    display = TerminalDisplay(console)
    name = RunWords(**{**words, "catalog": tuple(words.get("catalog", ()))}).resolve().name
    if "PREFECT_API_URL" not in os.environ:
        console.print("[dim]Starting Prefect's own server for this run (about 20 s) ...[/]")
    with showing(display), display.live():
        address = flow(**words)
    display.close(name, str(address))


def _catalog(overlays: list[Path] | None) -> Catalog:
    try:
        return load_catalog(*(overlays or ()))
    except CatalogError as error:
        raise _failure(str(error)) from error


def _failure(message: str) -> typer.Exit:
    Console(stderr=True).print(f"[red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    return typer.Exit(1)
