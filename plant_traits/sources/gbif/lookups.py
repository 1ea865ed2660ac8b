"""Look-ups through pygbif, with our own client in place of its bare ``requests``.

pygbif knows the services' addresses and parameters, but asks without a timeout, without a retry and without a limit.
All its read-only calls go through one function, ``gbif_GET``, which each of its modules looks up by name. A call is
therefore bound anew, with that one name meaning our client: pygbif itself stays as it is, nothing global changes, and
threads do not meet. The checklist is always named by the caller, because pygbif guesses it from the type of the key.

On import pygbif also sets up the whole process's logging, so that every request of every library is printed, and loads
a plotting library; so it is imported when it is first needed, and the logging put back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"

_TRANSPORT = "gbif_GET"
_Ask = Callable[..., Any]


def occurrence_search(web: Web) -> _Ask:
    """Return ``pygbif.occurrences.search``, asking through the client."""
    return _bound(_pygbif("occurrences").search, web)


def species_match(web: Web) -> _Ask:
    """Return ``pygbif.species.name_backbone`` (``/v2/species/match``), asking through the client."""
    return _bound(_pygbif("species").name_backbone, web)


def institution_search(web: Web) -> _Ask:
    """Return ``pygbif.institution.search``, asking through the client."""
    return _bound(_pygbif("institution").search, web)


def _pygbif(part: str) -> ModuleType:
    log = logging.getLogger()
    handlers, level = list(log.handlers), log.level
    try:
        return import_module(f"pygbif.{part}")
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)


def _bound(function: FunctionType, web: Web) -> _Ask:
    def ask(url: str, args: Mapping[str, Any], **_: object) -> Any:  # noqa: ANN401 - what JSON holds is the caller's
        given = {name: value for name, value in args.items() if value is not None}
        return web.get(url, params=given).json()

    if _TRANSPORT not in function.__code__.co_names:
        raise ImportError(f"pygbif's {function.__name__} no longer asks through {_TRANSPORT}: adapt this module to it")
    names = {**function.__globals__, _TRANSPORT: ask}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
