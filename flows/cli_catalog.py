"""The commands of ``plant-traits catalog``: what can be mapped, from what, and compared with what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_catalog import Catalog, CatalogError, load_catalog

catalog_app = typer.Typer(help="What can be mapped, from what, and compared with what.", no_args_is_help=True)

KINDS = ("traits", "sources", "products", "regions", "profiles")

Overlay = Annotated[
    list[Path] | None, typer.Option("--catalog", help="Folder whose entries are laid over the built-in catalogue.")
]


@catalog_app.command("list")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all by default.")] = None,
    catalog: Overlay = None,
) -> None:
    """List the catalogue's entries."""
    entries = _catalog(catalog)
    if kind is not None and kind not in KINDS:
        raise failure(f"unknown kind {kind!r}; the catalogue has {', '.join(KINDS)}")
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
        raise failure(f"the catalogue has no entry {entry_id!r}; `plant-traits catalog list` lists them")
    for kind, entry in found:
        typer.echo(f"# {kind}")
        typer.echo(yaml.safe_dump(entry.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110))


@catalog_app.command()
def check(catalog: Overlay = None) -> None:
    """Check that every entry is valid and fits the others."""
    entries = _catalog(catalog)
    counts = ", ".join(f"{len(getattr(entries, kind))} {kind}" for kind in KINDS)
    typer.echo(f"The catalogue holds: {counts}.")


def _catalog(overlays: list[Path] | None) -> Catalog:
    try:
        return load_catalog(*(overlays or ()))
    except CatalogError as error:
        raise failure(str(error)) from error


def failure(message: str) -> typer.Exit:
    """Print an error and return what ends the command."""
    Console(stderr=True).print(f"[red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    return typer.Exit(1)
