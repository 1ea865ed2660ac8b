"""The commands of ``plant-traits versions``: which versions of the maps there are, what is in one, and expiry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli_catalog import failure
from plant_traits.errors import MissingInputError, PlantTraitsError
from plant_traits.workspace import Workspace

versions_app = typer.Typer(help="Versions of the maps: list, open, expire.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Profile, region and grid, such as demo-world-1deg.")]
WorkspaceOption = Annotated[str, typer.Option(help="Folder or fsspec URL that keeps everything.")]
ScratchOption = Annotated[Path | None, typer.Option(help="Local folder for work in progress, of a remote workspace.")]


@versions_app.command("list")
def list_versions(
    name: Annotated[str | None, typer.Argument(help="As in `versions list`; all by default.")] = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
) -> None:
    """List the versions, the latest first."""
    from maps.product.versions import history  # noqa: PLC0415
    from maps.stages.versions import repository_names  # noqa: PLC0415

    try:
        opened = Workspace.open(workspace, scratch)
        table = Table("maps", "version", "up to", "model", "snapshot", box=None)
        for column in table.columns:
            column.overflow = "fold"
        for each in repository_names(opened) if name is None else (name,):
            for version in history(_address(opened, each)):
                table.add_row(each, version.tag, version.time, version.model_id, version.snapshot)
        Console().print(table)
    except PlantTraitsError as error:
        raise failure(str(error)) from error


@versions_app.command("open-info")
def open_info(
    name: NameArgument,
    version: Annotated[str | None, typer.Option(help="Month, tag or snapshot; the latest by default.")] = None,
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
) -> None:
    """Say what a version holds and how to open it."""
    from maps.product.versions import find_version, open_map  # noqa: PLC0415

    try:
        address = _address(Workspace.open(workspace, scratch), name)
        found = find_version(address, version)
        maps = open_map(address, found.snapshot)
    except PlantTraitsError as error:
        raise failure(str(error)) from error
    typer.echo(f"{maps.attrs.get('title', found.message)}")
    typer.echo(f"version {found.tag}, snapshot {found.snapshot}, committed {found.committed:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"model {found.model_id}, configuration {found.configuration}, release {found.release}")
    typer.echo(", ".join(f"{size:,} {dimension}" for dimension, size in maps.sizes.items()))
    for trait in str(maps.attrs.get("traits", "")).split():
        layers = [variable for variable in maps.data_vars.values() if variable.attrs.get("trait") == trait]
        value = next(variable for variable in layers if variable.attrs.get("layer") == "value")
        typer.echo(f"{value.name} [{value.attrs['units']}], {len(layers)} layers, {int(value.notnull().sum()):,} cells")
    typer.echo(f"Open it: maps.product.versions.open_map({address!r}, {found.tag!r})")


@versions_app.command()
def expire(
    name: NameArgument,
    older_than: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="What was written before this UTC day.")],
    workspace: WorkspaceOption = "workspace",
    scratch: ScratchOption = None,
    drop_tags: Annotated[bool, typer.Option("--drop-tags", help="Remove old versions, not only leftovers.")] = False,
) -> None:
    """Remove what killed commits left and, with --drop-tags, old versions but the latest."""
    from maps.product.versions import expire_and_collect  # noqa: PLC0415

    try:
        address = _address(Workspace.open(workspace, scratch), name)
        gone = expire_and_collect(address, older_than.replace(tzinfo=UTC), keep_tags=not drop_tags)
    except PlantTraitsError as error:
        raise failure(str(error)) from error
    typer.echo(f"removed versions: {', '.join(gone.versions) or 'none'}")
    typer.echo(f"{gone.snapshots:,} snapshots and {gone.chunks:,} chunks removed, {gone.bytes:,} bytes freed")


def _address(workspace: Workspace, name: str) -> str:
    from maps.stages.versions import FOLDER, repository_address, repository_names  # noqa: PLC0415

    names = repository_names(workspace)
    if name not in names:
        raise MissingInputError(
            f"{workspace.address(FOLDER)} keeps no versions of {name!r}; there are: {', '.join(names) or 'none yet'}"
        )
    return repository_address(workspace, name)
