"""Show the stages of a run to whoever watches: on a display, and as artifacts of Prefect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from plant_traits.steps import Artifact

logger = logging.getLogger("plant_traits.run")

Progress = Callable[..., None]
"""Called with (finished, total), and with a word on how it goes where a stage has one."""


class Display(Protocol):
    """Shows the stages of a run to whoever watches."""

    def begin(self, title: str) -> Progress:
        """Announce a stage and return its ``Progress``."""

    def end(self, title: str, artifact: Artifact) -> None:
        """Announce that the stage has its output."""


class LogDisplay:
    """Writes a line when a stage ends."""

    def begin(self, title: str) -> Progress:
        """Log nothing while the stage goes on."""
        return lambda finished, total, words="": None

    def end(self, title: str, artifact: Artifact) -> None:
        """Log what the stage made."""
        state = "reused" if artifact.reused else "computed"
        logger.info("%s: %s %s", title, state, artifact.key, extra={"summary": artifact.summary})


DISPLAY: ContextVar[Display] = ContextVar("display")


@contextmanager
def showing(display: Display) -> Iterator[None]:
    """Show the stages that run inside on this display."""
    token = DISPLAY.set(display)
    try:
        yield
    finally:
        DISPLAY.reset(token)


@dataclass
class _Stage:
    progress: Progress
    artifact: Artifact = field(init=False)


@contextmanager
def showing_stage(title: str) -> Iterator[_Stage]:
    """Show one stage; the caller leaves its artifact in what is yielded."""
    display = DISPLAY.get(None) or LogDisplay()
    stage = _Stage(_with_artifact(title, display.begin(title)))
    yield stage
    display.end(title, stage.artifact)


def _with_artifact(title: str, progress: Progress) -> Progress:
    """Show progress as a Prefect artifact too, in steps of a tenth: each step is a request to the server."""
    if TaskRunContext.get() is None:
        return progress
    shown: list[tuple[UUID, int]] = []
    # Photos are fetched, and counted, in threads that do not know of the task run.
    lock, context = Lock(), copy_context()

    def update(finished: int, total: int, words: str = "") -> None:
        progress(finished, total, words)
        tenth = 10 * finished // max(total, 1)
        with lock:
            if not shown:
                key = "progress-" + "".join(c if c.isalnum() else "-" for c in title.lower())
                created = context.run(create_progress_artifact, 10.0 * tenth, key=key, description=title)
                shown.append((cast(UUID, created), tenth))
            elif tenth > shown[-1][1]:
                context.run(update_progress_artifact, shown[0][0], 10.0 * tenth, words or None)
                shown.append((shown[0][0], tenth))

    return update
