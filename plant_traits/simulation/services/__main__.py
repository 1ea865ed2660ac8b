"""Answer for the public services from a virtual world, until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from plant_traits.simulation.services.application import ACCOUNT, ENFORCED_RATES, HOSTS, application


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; one line of JSON with routes and credentials on standard output says that requests are taken."""
    parser = argparse.ArgumentParser(prog="python -m plant_traits.simulation.services", description=__doc__)
    parser.add_argument("--world", type=Path, required=True, help="folder of a virtual world")
    parser.add_argument("--state", type=Path, required=True, help="folder for downloads and the log of requests")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that go wrong, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--rates", type=json.loads, default=dict(ENFORCED_RATES), help="JSON: requests/min by host")
    parser.add_argument("--recorded", type=Path, help="folder of recorded exchanges that answer first")
    parser.add_argument("--month", help="YYYY-MM whose end it is in the world; its first month by default")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--until-input-ends", action="store_true", help="end when standard input closes")
    chosen = parser.parse_args(arguments)
    parent = os.getppid()
    app = application(
        chosen.world,
        chosen.state,
        share=chosen.faults,
        seed=chosen.seed,
        rates=chosen.rates,
        recorded=chosen.recorded,
        month=chosen.month,
    )
    listener = socket.create_server(("127.0.0.1", chosen.port), backlog=256)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every answer waits for an acknowledgement
    if chosen.until_input_ends:
        threading.Thread(target=_end_with_input, args=(parent,), daemon=True).start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = {
        "routes": {host: f"{base}/{host}" for host in HOSTS},
        "credentials": {"api.gbif.org": [ACCOUNT.user, ACCOUNT.password]},
    }
    print(json.dumps(ready), flush=True)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


def _end_with_input(parent: int) -> None:
    """End this process when standard input closes or, where another process holds it open, the parent is gone."""
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], 1.0)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            break
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(2)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
