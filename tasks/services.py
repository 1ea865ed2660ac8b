"""Whom a run asks: the real services, or the stand-ins of its virtual world."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
from prefect.blocks.system import Secret
from pydantic import JsonValue

from plant_traits.errors import InputError
from plant_traits.kept_open import KeptOpen
from plant_traits.simulation.services import StandIns, serve
from plant_traits.sources.web.client import Patience, Web
from plant_traits.stages.acquisition import ACCOUNT
from plant_traits.steps import Artifact

if TYPE_CHECKING:
    from tasks.context import RunContext

GBIF_HOST = "api.gbif.org"
GBIF_BLOCK = "gbif-account"
ROUTES_VARIABLE = "PLANT_TRAITS_ROUTES"
STAND_INS: KeptOpen[StandIns] = KeptOpen("stand-ins", one_at_a_time=True)
# Stand-ins answer at once; what they spoil they mend at the next request.
_STAND_IN_PATIENCE = Patience(attempts=8, first_wait_s=0.1, longest_wait_s=5.0, timeout_s=20.0)


@contextmanager
def asking(run: RunContext, world: Artifact | None) -> Iterator[Web]:
    """Yield the client of a run: of the real services, or of the stand-ins of its virtual world.

    Raises:
        InputError: routes or credentials cannot be read.
    """
    limits = run.spec.hosts
    mirror = run.data_root(world)
    if world is not None:
        with (
            _standing_in(run, world, mirror / ".services") as services,
            Web(
                limits,
                mirror / ACCOUNT,
                routes=services.routes,
                credentials=services.credentials,
                patience=_STAND_IN_PATIENCE,
            ) as web,
        ):
            yield web
        return
    routes = operator_routes(os.environ)
    with Web(limits, mirror / ACCOUNT, routes=routes, credentials=find_credentials(os.environ)) as web:
        yield web


def _standing_in(run: RunContext, world: Artifact, state: Path) -> AbstractContextManager[StandIns]:
    rates = {host: entry.requests_per_minute for host, entry in run.spec.hosts.items()}
    starting = partial(
        serve,
        run.store.fetch(world),
        state=state,
        faults=run.spec.faults,
        rates=rates,
        month=str(run.spec.month),
    )
    return STAND_INS.use((str(state), str(run.spec.month), run.spec.faults), starting)


def operator_routes(variables: Mapping[str, str]) -> dict[str, str]:
    """Read where requests for a host are led instead, a JSON object of host and base address, from the environment.

    Raises:
        InputError: it is not such an object.
    """
    text = variables.get(ROUTES_VARIABLE)
    if not text:
        return {}
    try:
        routes = json.loads(text)
    except ValueError as error:
        raise InputError(f"{ROUTES_VARIABLE} is not JSON ({error}): expected an object of host and address") from error
    if not isinstance(routes, dict) or not all(isinstance(x, str) for pair in routes.items() for x in pair):
        raise InputError(f"{ROUTES_VARIABLE}: expected a JSON object of host and address, found another value")
    return routes


def find_credentials(variables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return user name and password of GBIF by host: from the environment, else from the Prefect block.

    ``GBIF_USER`` and ``GBIF_PWD`` are looked at first; then the Secret block ``gbif-account``, whose value is an object
    with ``user`` and ``password``. Without either, requests that need an account fail and say so.

    Raises:
        InputError: the block's value is not such an object, or Prefect's server cannot be asked.
    """
    user, password = variables.get("GBIF_USER"), variables.get("GBIF_PWD")
    if user and password:
        return {GBIF_HOST: (user, password)}
    try:
        value = cast("Secret[JsonValue]", Secret.load(GBIF_BLOCK)).get()
    except ValueError:  # there is no such block
        return {}
    except httpx.HTTPError as error:
        raise InputError(
            f"Prefect's server cannot be asked for its block {GBIF_BLOCK!r} ({error}): set GBIF_USER and GBIF_PWD, or "
            "correct PREFECT_API_URL"
        ) from error
    if not (isinstance(value, dict) and {"user", "password"} <= set(value)):
        raise InputError(f"Prefect block {GBIF_BLOCK!r}: expected an object with `user` and `password`")
    return {GBIF_HOST: (str(value["user"]), str(value["password"]))}
