"""The terminal's view of a run: a bar per stage, what each made and lost, and a closing summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from plant_traits.steps import Artifact


class TerminalDisplay:
    """Shows each stage as a bar while it runs and as one line when it has ended.

    Attributes:
        computed: titles of the stages that were computed by this run, the rest was there already.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.computed: list[str] = []
        self.reused: list[str] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[words]}"),
            console=console,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw bars while inside."""
        with self._progress:
            yield

    def begin(self, title: str) -> Callable[..., None]:
        """Open a bar for a stage."""
        bar = self._bars[title] = self._progress.add_task(title, total=None, words="")

        def update(finished: int, total: int, words: str = "") -> None:
            self._progress.update(bar, completed=finished, total=total, words=words)

        return update

    def end(self, title: str, artifact: Artifact) -> None:
        """Replace the bar by a line."""
        bar = self._bars.pop(title)
        seconds = self._progress.tasks[self._progress.task_ids.index(bar)].elapsed or 0.0
        self._progress.remove_task(bar)
        (self.reused if artifact.reused else self.computed).append(title)
        state = "[dim]unchanged[/]" if artifact.reused else f"[green]{seconds:.1f} s[/]"
        summary = artifact.summary
        made = ", ".join(f"{n:,} {what}" for what, n in summary.get("out", {}).items())
        lost = sum(summary.get("lost", {}).values())
        aside = f" [yellow]({lost:,} set aside, see the report)[/]" if lost else ""
        line = Table.grid(padding=(0, 1))
        line.add_column(width=27)
        line.add_column(width=10, justify="right")
        line.add_column(ratio=1)
        line.add_row(title, state, f"{escape(made)}{aside}")
        self.console.print(line, highlight=False)

    def close(self, name: str, lines: Sequence[str]) -> None:
        """Say what was made, where it lies and what to do next."""
        self.console.print()
        self.console.print(f"[bold green]{name}[/]", highlight=False)
        told = [f"{len(self.computed)} stages computed, {len(self.reused)} unchanged.", "", *lines]
        self.console.print("\n".join(told), highlight=False, soft_wrap=True, markup=False)


def closing_lines(flow: str, address: str) -> list[str]:
    """Say what lies where a flow has left its output, and what to do next."""
    where = Path(address)
    if flow in ("refresh", "backfill"):
        return [
            f"report     {where / 'report.html'}",
            f"photos     {where / 'photos.html'}",
            f"Zarr       {where / 'maps.zarr'}",
            f"GeoTIFFs   {where / 'geotiff'}",
            f"scores     {where / 'scores.csv'}",
            f"citation   {where / 'citation'}",
            "",
            "Next: open the report in a browser, or in Python:",
            f"  xarray.open_zarr('{where / 'maps.zarr'}')['height'].plot()",
        ]
    if flow == "train":
        return [
            f"page       {where / 'model.html'}",
            f"weights    {where / 'weights.safetensors'}",
            f"card       {where / 'card.yaml'}",
            f"curves     {where / 'learning_curves.png'}",
            "",
            "Next: `plant-traits refresh` with the same words maps with this model.",
        ]
    if flow == "train_names":
        return [
            f"model      {where}",
            "",
            "Next: `plant-traits refresh` with the same words judges names by this model.",
        ]
    if flow == "evaluate":
        return [f"page       {where / 'evaluation.html'}", f"scores     {where / 'scores.csv'}"]
    return [
        f"mirror     {address}",
        "Each source's folder holds acquired.json: what was asked, what came, its DOI and citation.",
        "",
        "Next: `plant-traits refresh` with the same words finds it all there.",
    ]
