"""Register a release's records at GBIF, asked for by hand: a published citation cannot be taken back."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from data_catalog import Catalog, load_catalog
from maps.stages.citation import DERIVED, RECORDS_USED
from plant_traits.errors import InputError, MissingInputError
from plant_traits.sources.gbif.derived_dataset import post_derived_dataset
from plant_traits.sources.web.client import Web
from plant_traits.stages.acquisition import ACCOUNT
from tasks.services import GBIF_HOST, find_credentials, operator_routes


@dataclass(frozen=True)
class DatasetRecords:
    """Records of one data set that entered a map."""

    source: str
    dataset_key: str
    n_records: int


@dataclass(frozen=True)
class Citation:
    """What a release says of its records.

    Attributes:
        records: by data set, most first.
        body: the file to post to GBIF, or None where the profile does not say where its maps are published.
    """

    records: tuple[DatasetRecords, ...]
    body: Path | None


def read_citation(release: Path) -> Citation:
    """Read the citation of a release.

    Raises:
        MissingInputError: the folder is no release.
    """
    table = release / "citation" / RECORDS_USED
    if not table.is_file():
        raise MissingInputError(f"{release} has no citation/{RECORDS_USED}: name the folder of a release")
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [DatasetRecords(x["source"], x["dataset_key"], int(x["n_records"])) for x in csv.DictReader(stream)]
    body = release / "citation" / f"{DERIVED}.json"
    return Citation(tuple(rows), body if body.is_file() else None)


def post_citation(citation: Citation, workspace: Path, catalog: Catalog | None = None) -> str:
    """Register the records at GBIF and return the DOI; the same body is never registered twice from one workspace.

    Raises:
        MissingInputError: there is nothing to post.
        InputError: the maps are not published, as those of a virtual world.
        WebError: GBIF refused or failed.
    """
    if citation.body is None:
        raise MissingInputError("the release has no derived_dataset.json: name `published_at` in its profile")
    routes = operator_routes(os.environ)
    _refuse_examples(citation.body, routes)
    name = hashlib.sha256(citation.body.read_bytes()).hexdigest()[:16]
    kept = workspace / "citations" / name / citation.body.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        shutil.copyfile(citation.body, kept)
    limits = {host.host: host for host in (catalog or load_catalog()).source("gbif").hosts}
    credentials = find_credentials(os.environ)
    with Web(limits, workspace / "citations" / ACCOUNT, routes=routes, credentials=credentials) as web:
        return post_derived_dataset(web, kept)


def _refuse_examples(body: Path, routes: Mapping[str, str]) -> None:
    """Refuse to register maps at an example's address, as those of a virtual world, with the real service."""
    address = str(json.loads(body.read_text(encoding="utf-8")).get("sourceUrl"))
    if (urlsplit(address).hostname or "").endswith(".example") and GBIF_HOST not in routes:
        raise InputError(
            f"{body.name}: {address} is an example and no place where maps are published; name the real place as "
            "`published_at` in the profile, and refresh"
        )
