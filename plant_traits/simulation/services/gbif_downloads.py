"""GBIF's download service: a request is taken, prepared, offered, and after a while erased."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.gbif_archives import write_archive
from plant_traits.simulation.services.predicates import BACKBONE, CATALOGUE_OF_LIFE, PredicateError, selected
from plant_traits.simulation.services.state import State
from plant_traits.simulation.services.world_records import WorldRecords

_SAME_REQUEST_S = 48 * 3600
_AT_ONCE = 3
_IN_THE_MAKING_S = 60
_KEPT_S = 182 * 24 * 3600
_FORMATS = ("DWCA", "SIMPLE_CSV")
_OTHER_FORMATS = ("SIMPLE_PARQUET", "SPECIES_LIST", "SIMPLE_AVRO", "BIONOMIA", "MAP_OF_LIFE")
_STAMP = "261101000000000"
_UNFINISHED = ("PREPARING", "RUNNING", "SUSPENDED")
_DOWNLOADS = "download"


class Downloads:
    """Keeps the downloads and answers for them."""

    def __init__(
        self,
        records: WorldRecords,
        folder: Path,
        state: State,
        account: Account,
        *,
        seed: int,
        erase_first: bool,
        now: Callable[[], float] = time.time,
        month: str = "",
    ) -> None:
        """Open the service.

        Args:
            records: what can be downloaded.
            folder: receives the files.
            state: remembers downloads.
            account: the only one there is.
            seed: decides how often a download is looked at before it is ready.
            erase_first: let every request's first file be erased when it is fetched, once.
            now: the clock.
            month: of the records where it is not the first; the same request in another month is another download.
        """
        self._month = month
        self._records = records
        self._folder = folder
        self._state = state
        self._account = account
        self._seed = seed
        self._erase_first = erase_first
        self._now = now
        self._making = threading.Lock()

    def api_routes(self) -> list[Route]:
        """Return the routes at api.gbif.org."""
        base = "/v1/occurrence/download"
        return [
            Route(f"{base}/request", self.request, methods=["POST"]),
            Route(f"{base}/request/{{key}}.zip", self.redirect, methods=["GET"]),
            Route(f"{base}/request/{{key}}", self.cancel, methods=["DELETE"]),
            Route(f"{base}/user/{{user}}", self.of_user, methods=["GET"]),
            Route(f"{base}/{{key}}", self.describe, methods=["GET"]),
        ]

    def file_routes(self) -> list[Route]:
        """Return the routes at occurrence-download.gbif.org."""
        return [Route("/occurrence/download/request/{key}.zip", self.file, methods=["GET"])]

    async def request(self, request: Request) -> Response:
        """Take a request for a download and answer its key, 201; within 48 hours the same key for the same request."""
        user = self._account.user_of(request)
        if user is None:
            return self._account.unauthorised()
        try:
            asked = checked_request(await request.body(), user)
            chosen = await run_in_threadpool(
                lambda: selected(asked["predicate"], self._records, asked.get("checklistKey", BACKBONE))
            )
        except PredicateError as error:
            return PlainTextResponse(str(error), 400)
        except PermissionError as error:
            return PlainTextResponse(str(error), 403)
        same = hashlib.sha256((json.dumps(asked, sort_keys=True) + self._month).encode()).hexdigest()
        former = [d for d in self._state.all(_DOWNLOADS) if d["same"] == same]
        lately = [d for d in self._state.all(_DOWNLOADS) if abs(self._now() - d["created"]) < _IN_THE_MAKING_S]
        unfinished = [d for d in lately if d["user"] == user and d["status"] in _UNFINISHED]
        for download in reversed(former):
            fresh = self._now() - download["created"] < _SAME_REQUEST_S
            if fresh and download["status"] in (*_UNFINISHED, "SUCCEEDED"):
                return PlainTextResponse(download["key"], 201)
        if len(unfinished) >= _AT_ONCE:
            return PlainTextResponse(f"User {user} already has {_AT_ONCE} downloads in the making", 429)
        number = int(hashlib.sha256(f"{self._seed}|{same}|{len(former)}".encode()).hexdigest(), 16)
        key = f"{number % 10_000_000:07d}-{_STAMP}"
        self._state.put(
            _DOWNLOADS,
            key,
            {
                "key": key,
                "same": same,
                "user": user,
                "request": asked,
                "created": self._now(),
                "modified": self._now(),
                "status": "PREPARING",
                "looked": 0,
                "ready_after": 2 + number // 10_000_000 % 3,
                "records": int(chosen.sum()),
                "datasets": len(set(self._records.texts("datasetKey")[chosen])),
                "size": 0,
                "erase": self._erase_first and not former,
            },
        )
        return PlainTextResponse(key, 201)

    async def describe(self, request: Request) -> Response:
        """Tell the state of a download; each look brings it nearer to its end."""
        download = self._state.get(_DOWNLOADS, request.path_params["key"])
        if download is None:
            return Response(status_code=404)
        if download["status"] in _UNFINISHED:
            download["looked"] += 1
            if download["looked"] > download["ready_after"]:
                download["size"] = await run_in_threadpool(self._make, download)
                download["status"] = "SUCCEEDED"
            elif download["looked"] > 1:
                download["status"] = "RUNNING"
            download["modified"] = self._now()
            self._state.put(_DOWNLOADS, download["key"], download)
        return JSONResponse(described(download))

    async def of_user(self, request: Request) -> Response:
        """List a user's downloads, newest first, a page at a time."""
        user = self._account.user_of(request)
        if user is None:
            return self._account.unauthorised()
        if user != request.path_params["user"]:
            return PlainTextResponse("Access denied", 403)
        limit = min(int(request.query_params.get("limit", "20")), 1000)
        offset = int(request.query_params.get("offset", "0"))
        wanted = {
            status for text in request.query_params.getlist("status") for status in text.upper().split(",") if status
        }
        found = [d for d in reversed(self._state.all(_DOWNLOADS)) if d["user"] == user]
        found = [d for d in found if not wanted or d["status"] in wanted]
        page = found[offset : offset + limit]
        return JSONResponse(
            {
                "offset": offset,
                "limit": limit,
                "endOfRecords": offset + limit >= len(found),
                "count": len(found),
                "results": [described(download) for download in page],
            }
        )

    async def cancel(self, request: Request) -> Response:
        """Cancel a download that is not finished; erase one that is."""
        user = self._account.user_of(request)
        download = self._state.get(_DOWNLOADS, request.path_params["key"])
        if user is None:
            return self._account.unauthorised()
        if download is None:
            return Response(status_code=404)
        download["status"] = "CANCELLED" if download["status"] in _UNFINISHED else "FILE_ERASED"
        self._state.put(_DOWNLOADS, download["key"], download)
        return Response(status_code=204)

    async def redirect(self, request: Request) -> Response:
        """Lead to the file of a download that has one: 404 for an unknown or unfinished one, 410 for an erased one."""
        key = request.path_params["key"]
        download = self._state.get(_DOWNLOADS, key)
        if download is None or download["status"] in (*_UNFINISHED, "CANCELLED", "KILLED", "FAILED"):
            return Response(status_code=404)
        if download["erase"]:
            download |= {"erase": False, "status": "FILE_ERASED", "modified": self._now()}
            self._state.put(_DOWNLOADS, key, download)
        if download["status"] == "FILE_ERASED":
            return PlainTextResponse("The download has been erased", 410)
        return RedirectResponse(f"https://occurrence-download.gbif.org/occurrence/download/request/{key}.zip", 302)

    async def file(self, request: Request) -> Response:
        """Send the file of a download, whole or the range that is asked for."""
        key = request.path_params["key"]
        download = self._state.get(_DOWNLOADS, key)
        if download is None or download["status"] != "SUCCEEDED":
            erased = download is not None and download["status"] == "FILE_ERASED"
            return Response(status_code=410 if erased else 404)
        if not self._path(key).exists():
            await run_in_threadpool(self._make, download)
        return FileResponse(self._path(key), media_type="application/zip", filename=f"{key}.zip")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.zip"

    def _make(self, download: Mapping[str, Any]) -> int:
        """Write the file of a download and return its size."""
        path = self._path(download["key"])
        with self._making:
            if path.exists():
                return path.stat().st_size
            asked = download["request"]
            chosen = selected(asked["predicate"], self._records, asked.get("checklistKey", BACKBONE))
            write_archive(self._records, chosen, asked["format"], download["key"], path)
        return path.stat().st_size


def checked_request(body: bytes, user: str) -> dict[str, Any]:
    """Read the body of a request for a download.

    Raises:
        PredicateError: it is refused with 400.
        PermissionError: it is refused with 403.
    """
    try:
        asked = json.loads(body)
    except ValueError:
        raise PredicateError("Invalid download request: no JSON") from None
    if not isinstance(asked, dict) or "predicate" not in asked:
        raise PredicateError("Invalid download request: a predicate is needed")
    if asked.get("creator", user) != user:
        raise PermissionError("Not allowed to request downloads for another user")
    form = asked.get("format")
    if form in _OTHER_FORMATS:
        raise PredicateError(f"The stand-in offers only {', '.join(_FORMATS)}, not {form}")
    if form not in _FORMATS:
        raise PredicateError(f"Unknown download format: {form!r}")
    checklist = asked.get("checklistKey", BACKBONE)
    if checklist not in (CATALOGUE_OF_LIFE, BACKBONE):
        raise PredicateError(f"Unknown checklistKey: {checklist!r}")
    addresses = asked.get("notificationAddresses", asked.get("notification_address", []))
    if not isinstance(addresses, list):
        raise PredicateError("notificationAddresses must be a list")
    return {name: value for name, value in asked.items() if name not in ("creator", "notification_address")}


def described(download: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the service tells about a download."""
    done = download["status"] in ("SUCCEEDED", "FILE_ERASED")
    told = {
        "key": download["key"],
        "license": "http://creativecommons.org/licenses/by-nc/4.0/legalcode" if done else "unspecified",
        "request": {"sendNotification": False, "type": "OCCURRENCE", "verbatimExtensions": [], **download["request"]},
        "created": _moment(download["created"]),
        "modified": _moment(download["modified"]),
        "eraseAfter": _moment(download["created"] + _KEPT_S),
        "status": download["status"],
        "downloadLink": f"https://api.gbif.org/v1/occurrence/download/request/{download['key']}.zip",
        "size": download["size"],
        "totalRecords": download["records"],
        "numberDatasets": download["datasets"] if done else 0,
    }
    if done:
        told["doi"] = f"10.15468/dl.{hashlib.sha256(download['key'].encode()).hexdigest()[:6]}"
    return told


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
