"""The open-data tables: fetched, joined and cut down to plants, one row per observation with its first photo."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, TableError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.inaturalist.open_data import InaturalistOpenData
from plant_traits.sources.inaturalist.open_data_tables import Selection, header, select_observations
from plant_traits.sources.protocol import Request
from plant_traits.sources.raw_occurrence import concatenated, read_raw_occurrences, rejected_rows
from plant_traits.sources.web.client import Web

HOST = "inaturalist-open-data.s3.amazonaws.com"
SOURCE = Source(
    id="inaturalist", title="iNaturalist", kind="occurrences", licence="CC", citation="iNaturalist",
    hosts=(HostLimits(host=HOST, requests_per_minute=60),),
)  # fmt: skip
WORLD = Region("world", -180, -90, 180, 90)

TABLES = {
    "taxa": """taxon_id	ancestry	rank_level	rank	name	active
47126	48460	70	kingdom	Plantae	true
211194	48460/47126	67	phylum	Tracheophyta	true
5	48460/1	67	phylum	Tracheophyta	false
47851	48460/47126/211194/47853	20	genus	Quercus	true
47853	48460/47126/211194	30	family	Fagaceae	true
56133	48460/47126/211194/47853/47851	10	species	Quercus robur	true
999	48460/47126/211194/47853/47851/56133	5	subspecies	Quercus robur robur	true
52681	48460/47126/211194/136329	20	genus	Pinus	true
211	48460/47126/2111940	10	species	Bryum argenteum	true
3	48460/1/2	10	species	Vulpes vulpes	true
""",
    "observations": """observation_uuid	observer_id	latitude	longitude	positional_accuracy	\
taxon_id	quality_grade	observed_on	anomaly_score
b-subspecies	8	51.5	-0.5	12	999	research	2026-10-31	0.1
a-species	28	-17.0	179.5		56133	research	2020-05-06	
c-genus	28	51.0	0.5	5	52681	research		
d-too-new	28	51.0	0.5	5	56133	research	2026-11-01	
e-casual	28	51.0	0.5	5	56133	casual	2020-05-06	
f-fox	28	51.0	0.5	5	3	research	2020-05-06	
g-moss	28	51.0	0.5	5	211	research	2020-05-06	
h-nowhere	28			5	56133	research	2020-05-06	
i-no-photo	77	51.0	0.5	5	56133	research	2020-05-06	
j-short	28	51.0
k-root	28	51.0	0.5	5	211194	research	not a day	
""",
    "photos": """photo_uuid	photo_id	observation_uuid	observer_id	extension	license	width	height	position
u1	103	b-subspecies	8	jpeg	CC-BY-NC	2048	1536	1
u2	102	b-subspecies	8	png	CC-BY	2048	1536	0
u3	9	a-species	28	jpg	CC0	2048	1536	
u4	10	a-species	28	jpg	CC-BY-ND	2048	1536	
u5	11	c-genus	28	jpg	CC-BY-NC-SA	2048	1536	0
u6	12	f-fox	28	jpg	CC0	2048	1536	0
u7	13	k-root	28	jpg	CC0	2048	1536	0
""",
    "observers": 'observer_id\tlogin\tname\n8\ttueda\tA "quoted name\n28\ttiwane\tNone\n',
}


class Server(Protocol):
    answer: Callable[[str], tuple[int, dict[str, str], bytes]]
    asked: list[str]


def bucket(tables: dict[str, str], packed: bool = True) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    def answer(url: str) -> tuple[int, dict[str, str], bytes]:
        name = url.rsplit("/", 1)[1].removesuffix(".csv.gz")
        if url != f"https://{HOST}/{name}.csv.gz" or name not in tables:
            return 404, {}, b""
        content = tables[name].encode()
        return 200, {"etag": f'"{name}"'}, gzip.compress(content) if packed else content

    return answer


def request_in(folder: Path, region: Region = WORLD, month: str = "2026-10", **settings: JsonValue) -> Request:
    return Request(SOURCE, Month.parse(month), region, settings, folder)


@pytest.mark.parametrize("packed", [True, False])
def test_plants_of_the_tables(loopback: Server, web: Web, tmp_path: Path, packed: bool) -> None:
    loopback.answer = bucket(TABLES, packed)
    acquired = acquire_source(InaturalistOpenData(), request_in(tmp_path / "m"), web)
    frame = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet").set_index("occurrence_id")
    assert list(frame.index) == ["a-species", "b-subspecies", "c-genus", "i-no-photo", "k-root"]
    sub = frame.loc["b-subspecies"]
    assert (sub["scientific_name"], sub["species"], sub["genus"], sub["family"]) == (
        "Quercus robur robur", "Quercus robur", "Quercus", "Fagaceae",
    )  # fmt: skip
    assert (sub["photo_id"], sub["photo_url"], sub["licence"]) == (
        "102", "https://inaturalist-open-data.s3.amazonaws.com/photos/102/original.png", "CC-BY",
    )  # fmt: skip
    assert (sub["latitude"], sub["longitude"], sub["coordinate_uncertainty_m"]) == (51.5, -0.5, 12.0)
    assert (str(sub["observed_on"].date()), sub["year"], sub["recorded_by"], sub["taxon_key"]) == (
        "2026-10-31", 2026.0, "tueda", "999",
    )  # fmt: skip
    assert frame.loc["a-species", "photo_id"] == "9"  # without positions, the lowest number
    assert frame["species"].isna().tolist() == [False, False, True, False, True]
    assert frame.loc["c-genus", "genus"] == "Pinus"
    assert frame["photo_id"].isna().tolist() == [False, False, False, True, False]
    assert frame.loc["i-no-photo", "recorded_by"] == "77"  # not in the table of observers
    assert frame["observed_on"].isna().tolist() == [False, False, True, False, True]
    assert frame["degree_of_establishment"].isna().all() and set(frame["source"]) == {"inaturalist"}
    assert acquired.counts == {
        "rows": 5,
        "rejected: malformed_row_of_observations": 1,
        "not asked for: after the month": 1,
        "not asked for: other taxa": 2,
        "not asked for: outside the region": 1,
        "not asked for: quality grade": 1,
    }
    assert not (tmp_path / "m" / ".joining").exists()
    assert rejected_rows(read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")) == {
        "malformed_row_of_observations": 1
    }


def test_region_over_the_antimeridian(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = bucket(TABLES)
    acquire_source(InaturalistOpenData(), request_in(tmp_path / "m", Region("fiji", 177, -20, -178, -15)), web)
    assert read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")["occurrence_id"].tolist() == ["a-species"]


def test_settings_select(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = bucket(TABLES)
    settings: dict[str, JsonValue] = {
        "taxon": "Fagaceae", "quality_grades": ["research", "casual"], "licences": ["CC-BY-NC", "CC-BY-ND"],
    }  # fmt: skip
    acquire_source(InaturalistOpenData(), request_in(tmp_path / "m", month="2026-11", **settings), web)
    frame = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet").set_index("occurrence_id")
    assert frame["photo_id"].fillna("none").to_dict() == {
        "a-species": "10", "b-subspecies": "103", "d-too-new": "none", "e-casual": "none", "i-no-photo": "none",
    }  # fmt: skip


def test_tables_at_hand_are_not_fetched_again(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = bucket({k: v for k, v in TABLES.items() if k != "taxa"})
    with pytest.raises(WebError, match="404"):
        acquire_source(InaturalistOpenData(), request_in(tmp_path / "m"), web)
    loopback.answer = bucket(TABLES)
    before = len(loopback.asked)
    acquire_source(InaturalistOpenData(), request_in(tmp_path / "m"), web)
    assert [url.rsplit("/", 1)[1] for url in loopback.asked[before:]] == ["taxa.csv.gz", "observers.csv.gz"]
    before = len(loopback.asked)
    acquire_source(InaturalistOpenData(), request_in(tmp_path / "m", Region("box", 0, 0, 1, 60)), web)
    assert len(loopback.asked) == before  # another region, the same tables
    acquire_source(InaturalistOpenData(), request_in(tmp_path / "m", month="2026-11"), web)
    assert len(loopback.asked) == before + 4


def test_missing_column_is_told(loopback: Server, web: Web, tmp_path: Path) -> None:
    changed = TABLES | {"taxa": TABLES["taxa"].replace("ancestry", "ancestors")}
    loopback.answer = bucket(changed)
    with pytest.raises(TableError, match=r"columns \['ancestry'\] are missing"):
        acquire_source(InaturalistOpenData(), request_in(tmp_path / "m"), web)


@pytest.mark.parametrize(("taxon", "found"), [("Chlorophyta", "none"), ("Pinus", "'52681', '7'")])
def test_taxon_must_be_there_once(loopback: Server, web: Web, tmp_path: Path, taxon: str, found: str) -> None:
    loopback.answer = bucket(TABLES | {"taxa": TABLES["taxa"] + "7\t1\t20\tgenus\tPinus\ttrue\n"})
    with pytest.raises(TableError, match=f"called '{taxon}', found .*{found}"):
        acquire_source(InaturalistOpenData(), request_in(tmp_path / "m", taxon=taxon), web)


def test_cut_off_table_is_told(loopback: Server, web: Web, tmp_path: Path) -> None:
    whole = gzip.compress(TABLES["observations"].encode())
    usual = bucket(TABLES)
    loopback.answer = lambda url: (200, {}, whole[:-60]) if "observations" in url else usual(url)
    with pytest.raises(TableError, match="run again"):
        acquire_source(InaturalistOpenData(), request_in(tmp_path / "m"), web)
    assert not (tmp_path / "m" / "occurrences.parquet").exists()


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="settings of `inaturalist-open-data` are wrong: quality_grades"):
        InaturalistOpenData().plan(request_in(tmp_path, quality_grades=[]))


@pytest.mark.real
def test_recorded_samples(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "api_payloads" / "inaturalist" / "open_data"
    lines = [line.split("\t") for line in (folder / "observations.csv").read_text().splitlines()[1:]]
    whole = [line for line in lines if len(line) == 8]
    assert (len(lines), len(whole)) == (50, 48)  # two rows have a column too many
    # The samples do not fit together: give their observations' taxa a place below Tracheophyta.
    taxa = (folder / "taxa.csv").read_text() + "211194\t48460/47126\t67\tphylum\tTracheophyta\ttrue\n"
    taxa += "".join(f"{k}\t48460/47126/211194\t10\tspecies\tGenus x{k}\ttrue\n" for k in {x[5] for x in whole} - {""})
    (tmp_path / "taxa.csv").write_text(taxa)
    tables = {name: folder / f"{name}.csv" for name in ("observations", "photos", "observers")}
    left_out: dict[str, int] = {}
    frames = select_observations(
        {**tables, "taxa": tmp_path / "taxa.csv"},
        Selection("inaturalist", "Tracheophyta", ("research",), None, WORLD, Month(2026, 10)),
        workspace=tmp_path / "w",
        memory_gib=0.5,
        threads=1,
        not_asked_for=left_out,
    )
    frame = concatenated(list(frames))
    expected = {x[0] for x in whole if x[6] == "research" and x[2] and x[3] and x[5]}
    assert set(frame["occurrence_id"]) == expected and len(frame) == len(expected)
    assert rejected_rows(frame) == {"malformed_row_of_observations": 2}
    assert sum(left_out.values()) + len(frame) == 48
    first = frame.set_index("occurrence_id").loc["526ababd-aff2-4ce8-b111-d8013b9d8b42"]
    assert (first["photo_id"], first["latitude"], first["longitude"]) == ("35927", 38.60974, -122.767302)
    assert header(folder / "photos.csv")[:2] == ["photo_uuid", "photo_id"]
