"""Name matching: what an answer means, and that each name is asked once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, MissingInputError, TableError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.gbif.name_match import NameMatch
from plant_traits.sources.gbif.names import ACCEPTED_NAME, GbifNames
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"
COL = "7ddf754f-d193-4cc9-b351-99906754a03b"
SOURCE = Source(
    id="gbif-names", title="GBIF", kind="reference", licence="CC0", citation="GBIF",
    hosts=(HostLimits(host=HOST, requests_per_minute=6000, connections=3),),
)  # fmt: skip


class Asked(Protocol):
    url: str


class Server(Protocol):
    answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]
    asked: list[Asked]


def usage(key: str, name: str, rank: str = "SPECIES", **more: JsonValue) -> dict[str, Any]:
    words = name.split()
    epithet = {"genericName": words[0], "specificEpithet": words[1]} if len(words) > 1 else {}
    return (
        {"key": key, "name": f"{name} Author", "canonicalName": name, "rank": rank, "status": "ACCEPTED"}
        | epithet
        | more
    )


def answer(match_type: str, found: dict[str, Any] | None = None, **more: JsonValue) -> dict[str, Any]:
    return {"diagnostics": {"matchType": match_type, "confidence": 97}} | ({"usage": found} if found else {}) | more


OAK = [{"name": "Fagaceae", "rank": "FAMILY"}, {"name": "Quercus", "rank": "GENUS"}]


def test_accepted_name() -> None:
    match = NameMatch.read("Quercus robur L.", answer("EXACT", usage("4QT7H", "Quercus robur"), classification=OAK))
    assert match == NameMatch(
        "Quercus robur L.", "EXACT", "SPECIES", "ACCEPTED", "4QT7H", "Quercus robur", "4QT7H", "Quercus robur",
        "Quercus robur", "Quercus", "Fagaceae",
    )  # fmt: skip


def test_synonym_becomes_its_accepted_name() -> None:
    old = usage("S1", "Quercus pedunculata", status="SYNONYM")
    found = answer("EXACT", old, acceptedUsage=usage("4QT7H", "Quercus robur"), classification=OAK, synonym=True)
    match = NameMatch.read("Quercus pedunculata", found)
    assert (match.status, match.usage_key, match.accepted_key) == ("SYNONYM", "S1", "4QT7H")
    assert match.accepted_species == "Quercus robur"


def test_other_spelling_counts() -> None:
    match = NameMatch.read("Quercus robor", answer("VARIANT", usage("4QT7H", "Quercus robur")))
    assert match.accepted_species == "Quercus robur"


def test_subspecies_is_lifted_to_its_species() -> None:
    low = usage("X", "Quercus robur pedunculiflora", "SUBSPECIES", infraspecificEpithet="pedunculiflora")
    match = NameMatch.read("Quercus robur subsp. pedunculiflora", answer("EXACT", low, classification=OAK))
    assert (match.accepted_name, match.accepted_species) == ("Quercus robur pedunculiflora", "Quercus robur")


def test_lifting_does_without_epithets() -> None:
    bare = {"key": "X", "canonicalName": "Poa annua reptans", "name": "Poa annua f. reptans", "rank": "FORM"}
    assert NameMatch.read("a", answer("EXACT", bare)).accepted_species == "Poa annua"
    ranked = [{"name": "Poa annua", "rank": "SPECIES"}]
    named = {"key": "X", "name": "Poa reptans", "canonicalName": "Poa reptans", "rank": "FORM"}
    assert NameMatch.read("a", answer("EXACT", named, classification=ranked)).accepted_species == "Poa annua"


@pytest.mark.parametrize("confidence", [50, 100])
def test_higher_rank_gives_no_species_whatever_the_confidence(confidence: int) -> None:
    found = answer("HIGHERRANK", usage("6J", "Quercus", "GENUS"), classification=OAK)
    found["diagnostics"]["confidence"] = confidence
    match = NameMatch.read("Quercus fakeus", found)
    assert (match.genus, match.family, match.accepted_species) == ("Quercus", "Fagaceae", None)


def test_higher_rank_at_species_rank_is_no_species_either() -> None:
    match = NameMatch.read("Quercus robur bogus", answer("HIGHERRANK", usage("4QT7H", "Quercus robur")))
    assert match.accepted_species is None


def test_genus_found_exactly_is_no_species() -> None:
    assert NameMatch.read("Quercus", answer("EXACT", usage("6J", "Quercus", "GENUS"))).accepted_species is None


def test_none_is_unmatched_at_full_confidence() -> None:
    found = {"diagnostics": {"matchType": "NONE", "confidence": 100}, "usage": usage("X", "Quercus robur")}
    match = NameMatch.read("x y", found)
    assert (match.match_type, match.accepted_species, match.usage_key) == ("NONE", None, None)


@pytest.mark.parametrize("place", ["issues", "note"])
def test_homonyms_are_flagged_and_give_no_species(place: str) -> None:
    found = answer("EXACT", usage("X", "Oenanthe alba"))
    found["diagnostics"][place] = (
        ["MULTIPLE_EQUAL_MATCHES"] if place == "issues" else "Multiple equal matches for Oenanthe alba"
    )
    match = NameMatch.read("Oenanthe alba", found)
    assert match.homonyms and match.accepted_species is None
    assert "multiple" in str(match.issues).lower()


@pytest.mark.parametrize("bad", [None, [], {}, {"diagnostics": {}}, {"matchType": "EXACT"}])
def test_answer_without_match_type_is_refused(bad: object) -> None:
    with pytest.raises(WebError, match="expected a match type"):
        NameMatch.read("a", bad)


def recorded(path: Path) -> dict[str, dict[str, Any]]:
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    calls = content.get("http_interactions") or content["interactions"]
    return {call["request"]["uri"]: json.loads(call["response"]["body"]["string"]) for call in calls}


@pytest.mark.real
def test_recorded_answers(real_data: Path) -> None:
    folder = real_data / "api_payloads" / "gbif"
    answers = recorded(folder / "rgbif_name_backbone.yml")

    def read(part: str) -> NameMatch:
        return NameMatch.read("asked", next(x for uri, x in answers.items() if part in uri))

    sunflower = read("Helianthus+annuus&taxonRank=species&verbose=FALSE")
    assert sunflower.match_type == "EXACT" and sunflower.usage_key == "9206251"
    assert (sunflower.accepted_species, sunflower.genus, sunflower.family) == (
        "Helianthus annuus", "Helianthus", "Asteraceae",
    )  # fmt: skip
    assert not sunflower.homonyms
    fake = read("Calopteryx+fakeus&verbose=FALSE")  # confidence 100
    assert (fake.match_type, fake.accepted_species, fake.genus) == ("NONE", None, None)
    # "Calopteryx splendens" among plants: only the genus, and that as a synonym of Thibaudia.
    damselfly = read("Calopteryx+splendens&kingdom=Plantae&strict=FALSE&verbose=FALSE")
    assert (damselfly.match_type, damselfly.accepted_species) == ("HIGHERRANK", None)
    assert (damselfly.canonical, damselfly.accepted_name, damselfly.genus, damselfly.family) == (
        "Calopteryx", "Thibaudia", "Thibaudia", "Ericaceae",
    )  # fmt: skip
    birds = read("scientificName=Aves&verbose=FALSE&checklistKey")
    assert (birds.match_type, birds.usage_key, birds.accepted_species) == ("HIGHERRANK", "V2", None)


@pytest.mark.real
@pytest.mark.parametrize("name", ["test_name_backbone.yaml", "test_name_backbone_multiple_matches.yaml"])
def test_answers_of_the_older_service_are_refused(real_data: Path, name: str) -> None:
    (old,) = recorded(real_data / "api_payloads" / "gbif" / name).values()
    assert "matchType" in old
    with pytest.raises(WebError, match="expected a match type"):
        NameMatch.read("Helianthus annuus", old)


class Taxonomy:
    """Answers by name; remembers who was asked."""

    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.queries: list[dict[str, list[str]]] = []
        self.lock = threading.Lock()

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(asked.url)
        query = parse_qs(parts.query)
        name = query["scientificName"][0]
        with self.lock:
            self.asked.append(name)
            self.queries.append(query)
        if parts.path != "/v2/species/match":
            return 404, {}, b""
        if name == "unreadable":
            return 400, {"content-type": "text/plain"}, b"cannot parse"
        found = self.known.get(name, {"diagnostics": {"matchType": "NONE", "confidence": 100}})
        return 200, {"content-type": "application/json"}, json.dumps(found).encode()


def request_for(folder: Path, names: list[str | None], month: str = "2026-10", **settings: JsonValue) -> Request:
    folder.mkdir(exist_ok=True)
    table = folder.parent / f"{folder.name}-names.parquet"
    pd.DataFrame({"name": pd.Series(names, dtype="str")}).to_parquet(table)
    world = Region("world", -180, -90, 180, 90)
    return Request(SOURCE, Month.parse(month), world, settings, folder, {"names": table})


def test_each_name_is_asked_once(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    taxonomy = Taxonomy({"Quercus robur": answer("EXACT", usage("4QT7H", "Quercus robur"), classification=OAK)})
    loopback.answer = taxonomy
    names = ["Quercus robur", "Nonsense name", None, " Quercus robur ", "", "unreadable", "x" * 501]
    acquired = acquire_source(GbifNames(), request_for(tmp_path / "n", names), open_web(HOST))
    assert sorted(taxonomy.asked) == ["Nonsense name", "Quercus robur", "unreadable"]
    assert all(q["checklistKey"] == [COL] and q["kingdom"] == ["Plantae"] for q in taxonomy.queries)
    assert acquired.counts == {"rows": 3}
    assert acquired.facts["match_types"] == {"EXACT": 1, "NONE": 1, "REFUSED": 1}
    assert acquired.lost == {"names the service cannot read": 1, "names too long to be names": 1}
    table = pq.read_table(tmp_path / "n" / "names.parquet")
    assert table.schema.remove_metadata() == ACCEPTED_NAME
    frame = table.to_pandas().set_index("name")
    assert frame["accepted_species"].dropna().to_dict() == {"Quercus robur": "Quercus robur"}
    assert frame.loc["Quercus robur", "family"] == "Fagaceae"
    # The next month, one name is new: only it is asked, and also those without a match are remembered.
    later = request_for(tmp_path / "n", [*names, "Poa annua"], month="2026-11")
    more = acquire_source(GbifNames(), later, open_web(HOST))
    assert sorted(taxonomy.asked)[1:] == ["Poa annua", "Quercus robur", "unreadable"]
    assert more.facts["asked_now"] == 1 and more.counts == {"rows": 4}


def test_names_are_asked_again_when_answers_are_old(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    taxonomy = Taxonomy({})
    loopback.answer = taxonomy
    for month in ("2026-10", "2026-12", "2027-01"):
        acquire_source(GbifNames(), request_for(tmp_path / "n", ["Poa annua"], month, refresh_months=3), open_web(HOST))
    assert taxonomy.asked == ["Poa annua", "Poa annua"]
    acquire_source(GbifNames(), request_for(tmp_path / "n", ["Poa annua"], "2027-02", kingdom=""), open_web(HOST))
    assert len(taxonomy.asked) == 3 and "kingdom" not in taxonomy.queries[-1]


def test_answers_that_came_before_a_failure_are_kept(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    taxonomy = Taxonomy({})
    names = [f"Genus species{k:03d}" for k in range(60)]
    loopback.answer = lambda asked: (503, {}, b"") if "species059" in asked.url else taxonomy(asked)
    request = request_for(tmp_path / "n", names)
    with pytest.raises(WebError, match="503"):
        acquire_source(GbifNames(), request, open_web(HOST))
    before = len(taxonomy.asked)
    loopback.answer = taxonomy
    acquire_source(GbifNames(), request, open_web(HOST))
    assert before >= 40 and sorted(taxonomy.asked) == names  # none twice, not even those on their way when it failed


def test_missing_answers_are_noticed(tmp_path: Path) -> None:
    request = request_for(tmp_path / "n", ["Poa annua"])
    with pytest.raises(InputError, match="1 names were asked and 0 answers"):
        GbifNames().verify(request, None)  # type: ignore[arg-type]


def test_table_of_names_must_be_there(tmp_path: Path) -> None:
    request = request_for(tmp_path / "n", ["Poa annua"])
    bare = Request(request.source, request.month, request.region, {}, request.folder)
    with pytest.raises(MissingInputError, match="needs the table `names`"):
        GbifNames().plan(bare)
    pd.DataFrame({"other": ["a"]}).to_parquet(request.tables["names"])
    with pytest.raises(TableError, match="a column `name`"):
        GbifNames().plan(request)
