"""Cite what was really used: a GBIF derived data set, the number of records of each data set that entered a map."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from plant_traits.errors import InputError, MissingInputError, WebError
from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"
URL = f"https://{HOST}/v1/derivedDataset"
DATASET_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_LISTED = 100


@dataclass(frozen=True)
class DerivedDataset:
    """A derived data set, ready to be registered.

    Attributes:
        title: its title.
        description: how the records were chosen.
        source_url: where the map lies.
        datasets: number of records by key of the data set.
        download_doi: bare DOI of the download they were chosen from, where it was one download.

    Raises:
        InputError: the address or DOI is none, a key is none of GBIF's, or there is nothing to cite.
    """

    title: str
    description: str
    source_url: str
    datasets: Mapping[str, int]
    download_doi: str | None = None

    def __post_init__(self) -> None:
        if not self.source_url.startswith("https://"):
            raise InputError(f"source_url {self.source_url!r}: expected the https address of the map")
        if self.download_doi is not None and not _DOI.fullmatch(self.download_doi):
            raise InputError(f"download DOI {self.download_doi!r}: expected a bare DOI such as 10.15468/dl.np3k7j")
        if not self.datasets:
            raise InputError("no record belongs to a data set of GBIF: there is nothing to cite")
        wrong = [key for key, n in self.datasets.items() if not DATASET_KEY.fullmatch(key) or n < 1]
        if wrong:
            raise InputError(f"data sets {wrong[:5]}: expected keys of GBIF with one record or more")

    def body(self) -> dict[str, JsonValue]:
        """Return the body of the request that registers it."""
        body: dict[str, JsonValue] = {
            "title": self.title,
            "description": self.description,
            "sourceUrl": self.source_url,
            "relatedDatasets": dict(sorted(self.datasets.items())),
        }
        if self.download_doi is not None:
            body["originalDownloadDOI"] = self.download_doi
        return body


def write_derived_dataset(derived: DerivedDataset, path: Path) -> tuple[Path, Path]:
    """Write the request's body as ``<path>.json`` and its table of data sets as ``<path>.tsv``.

    Returns:
        Both files. A file that says the same already is left alone.
    """
    body, table = path.with_suffix(".json"), path.with_suffix(".tsv")
    body.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}\t{n}" for key, n in sorted(derived.datasets.items())]
    for target, text in (
        (body, json.dumps(derived.body(), indent=1, ensure_ascii=False) + "\n"),
        (table, "\n".join(["datasetKey\toccurrences", *lines]) + "\n"),
    ):
        _write_aside(target, text)
    return body, table


def post_derived_dataset(web: Web, path: Path) -> str:
    """Register a derived data set once, and return its DOI.

    A journal beside the file (``<name>.posted.json``) is written before and after the request. Where a kill or a lost
    answer leaves it open, the account's derived data sets are looked through first, so that nothing is registered
    twice.

    Args:
        web: the client, with the account of GBIF.
        path: the JSON file of ``write_derived_dataset``.

    Raises:
        MissingInputError: the file is not there.
        InputError: the file is no such body, or another body was registered under this name.
        WebError: the service refused or failed.
    """
    body = _read_body(path)
    journal = path.with_name(f"{path.stem}.posted.json")
    known = _read_journal(journal)
    if known and known.get("body") != body:
        raise InputError(
            f"{path.name}: {journal.name} says that another body was registered as {known.get('doi')}; a registered "
            "data set cannot be changed, so write the new one under another name"
        )
    if known.get("doi"):
        return str(known["doi"])
    doi = _registered(web, body) if known else None
    if doi is None:
        _write_aside(journal, json.dumps({"body": body, "doi": None}))
        try:
            answer = web.post(URL, body, authenticate=True)
        except WebError as error:
            raise _explained(error) from error
        doi = str(_object(answer.json()).get("doi"))
    if not _DOI.fullmatch(doi):
        raise WebError("unexpected_answer", f"{URL}: expected the DOI of the derived data set, found {doi[:80]!r}")
    _write_aside(journal, json.dumps({"body": body, "doi": doi}))
    return doi


def _registered(web: Web, body: Mapping[str, Any]) -> str | None:
    """Find our own among the account's latest derived data sets."""
    try:
        answer = web.get(f"{URL}/user/{web.user(HOST)}", params={"limit": _LISTED, "offset": 0}, authenticate=True)
    except WebError as error:
        raise _explained(error) from error
    results = _object(answer.json()).get("results")
    for found in results if isinstance(results, list) else []:
        same = isinstance(found, dict) and all(
            found.get(name) == body.get(name) for name in ("title", "description", "sourceUrl")
        )
        if same and found.get("doi"):
            return str(found["doi"])
    return None


def _explained(error: WebError) -> WebError:
    meaning = {
        400: "GBIF does not accept the derived data set: check its title, address and keys of data sets",
        401: "GBIF does not accept the user name and password: check them, see docs/sources.md",
        403: "the GBIF account may not register derived data sets: log in at gbif.org once and confirm its address",
    }.get(error.status or 0)
    if meaning is None:
        return error
    return WebError(error.reason, f"{meaning} ({URL} answers {error.status}: {str(error)[-200:]})", error.status)


def _object(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise WebError("unexpected_answer", f"{URL}: expected a JSON object, found {str(answer)[:80]!r}")
    return answer


def _read_body(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingInputError(f"{path} is not there: write it with the map's release")
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path.name}: not JSON ({error}); write it again") from error
    if not isinstance(body, dict) or not isinstance(body.get("relatedDatasets"), dict) or not body["relatedDatasets"]:
        raise InputError(f"{path.name}: expected the body of a derived data set, with `relatedDatasets`")
    return body


def _read_journal(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
