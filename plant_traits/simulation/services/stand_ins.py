"""Starts the stand-ins in a process of their own and ends them with the one that started them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plant_traits.errors import WorkspaceError
from plant_traits.simulation.services.request_log import LOG_NAME, RequestLog

_PATIENCE_S = 10


@dataclass(frozen=True)
class StandIns:
    """Running stand-ins.

    Attributes:
        routes: base address by real host, for ``Web(routes=...)``.
        credentials: user and password by real host.
        log: what was asked.
        pid: of their process.
    """

    routes: Mapping[str, str]
    credentials: Mapping[str, tuple[str, str]]
    log: RequestLog
    pid: int


@contextmanager
def serve(
    world: Path,
    *,
    state: Path,
    faults: float = 0.0,
    seed: int = 0,
    rates: Mapping[str, float] | None = None,
    recorded: Path | None = None,
    month: str | None = None,
) -> Iterator[StandIns]:
    """Answer for the public services from a virtual world, on a free port of the loopback interface.

    The process ends when the block does, and also when the calling process ends in any way: it watches its standard
    input, which closes then. A second start with the same ``state`` goes on where the first ended.

    Args:
        world: folder written by ``build_world``.
        state: folder for downloads, the log and what is derived from the world; made where absent.
        faults: share of requests that go wrong in some way, 0 to 1; at most three in a row of one address.
        seed: of the faults.
        rates: requests per minute by host that are enforced, instead of the services' own.
        recorded: folder of recorded exchanges (VCR cassettes, ``.yml`` or ``.yaml``); they answer first.
        month: ``YYYY-MM`` whose end it is in the world: records that are published later are not known yet, retracted
            ones no longer; the world's first month where none is given.

    Yields:
        Where they answer.

    Raises:
        WorkspaceError: they do not start.
    """
    command = [sys.executable, "-m", "plant_traits.simulation.services", "--until-input-ends"]
    command += ["--world", str(world), "--state", str(state), "--faults", str(faults), "--seed", str(seed)]
    if rates is not None:
        command += ["--rates", json.dumps(dict(rates))]
    if recorded is not None:
        command += ["--recorded", str(recorded)]
    if month is not None:
        command += ["--month", month]
    state.mkdir(parents=True, exist_ok=True)
    with (state / "errors.log").open("ab") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603
    with process:
        try:
            line = process.stdout.readline() if process.stdout is not None else b""
            if not line:
                raise WorkspaceError(f"the stand-ins did not start; see {state / 'errors.log'}")
            ready = json.loads(line)
            yield StandIns(
                routes=ready["routes"],
                credentials={host: (user, password) for host, (user, password) in ready["credentials"].items()},
                log=RequestLog(state / LOG_NAME),
                pid=process.pid,
            )
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
