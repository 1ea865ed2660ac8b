from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_catalog import Catalog, Trait
from plant_traits.errors import InputError, MissingInputError, TableError
from plant_traits.sources.brot import read_brot
from plant_traits.sources.site_records import read_site_records
from plant_traits.sources.trait_records import RECORD_COLUMNS
from plant_traits.sources.trait_tables import TRAIT_READERS, read_traits
from plant_traits.sources.try_covariates import observation_covariates
from plant_traits.sources.try_release import read_try_release
from plant_traits.sources.try_table import open_try_table

TRY_COLUMNS = [
    "LastName",
    "FirstName",
    "DatasetID",
    "Dataset",
    "SpeciesName",
    "AccSpeciesID",
    "AccSpeciesName",
    "ObservationID",
    "ObsDataID",
    "TraitID",
    "TraitName",
    "DataID",
    "DataName",
    "OriglName",
    "OrigValueStr",
    "OrigUnitStr",
    "ValueKindName",
    "OrigUncertaintyStr",
    "UncertaintyName",
    "Replicates",
    "StdValue",
    "UnitName",
    "RelUncertaintyPercent",
    "OrigObsDataID",
    "ErrorRisk",
    "Reference",
    "Comment",
]


@pytest.fixture
def traits(catalog: Catalog) -> list[Trait]:
    return [catalog.trait(name) for name in ("height", "leaf_area", "sla", "leaf_n")]


def try_file(path: Path, rows: list[dict[str, object]], without: str = "") -> Path:
    columns = [c for c in TRY_COLUMNS if c != without]
    text = ["\t".join(columns) + "\t"]
    text += ["\t".join(str(row.get(c, "")) for c in columns) + "\t" for row in rows]
    path.write_bytes(("\n".join(text) + "\n").encode("latin-1"))
    return path


def value(number: int, observation: int, **given: object) -> dict[str, object]:
    row: dict[str, object] = {
        "ObsDataID": number, "ObservationID": observation, "AccSpeciesName": "Bellis perennis", "TraitID": 3115,
        "StdValue": 20.0, "UnitName": "mm2 mg-1", "ValueKindName": "Single", "DataID": 6582, "Comment": 'M"l\xe9',
    }  # fmt: skip
    return row | given


def covariate(observation: int, data_id: int, text: str, number: float | str = "") -> dict[str, object]:
    return {"ObsDataID": 9000 + data_id + observation, "ObservationID": observation, "DataID": data_id,
            "OrigValueStr": text, "StdValue": number, "AccSpeciesName": "Bellis perennis"}  # fmt: skip


def test_a_try_release_is_sieved_by_its_rules(tmp_path: Path, traits: list[Trait]) -> None:
    rows = [
        value(1, 1),
        value(2, 1, TraitID=3106, StdValue=12.0, UnitName="cm"),
        value(3, 1, OrigObsDataID=77),
        value(4, 1, ErrorRisk=4.2),
        value(5, 1, ErrorRisk=4.0),
        value(6, 1, ValueKindName="Maximum"),
        value(7, 1, DataName="Leaf specific area (SLA): petiole excluded (min)"),
        value(8, 2),
        value(9, 3),
        value(10, 1, UnitName="furlong"),
        value(11, 1, StdValue=151.0),
        value(12, 1, StdValue=""),
        value(13, 1, TraitID=4),
        value(14, 4, TraitID=14, StdValue=2.5, UnitName="%", AccSpeciesName="Quercus robur subsp. robur"),
        covariate(1, 59, "48°30'", 48.5),
        covariate(1, 60, "8", 8.0),
        covariate(2, 413, "juvenile"),
        covariate(3, 327, "Climate chamber, non-limiting conditions"),
        covariate(4, 327, "natural environment"),
        covariate(4, 413, "mature"),
        covariate(4, 59, "48", 48.0),
        value(15, 5, TraitID=42, OrigValueStr="tree", AccSpeciesName="Quercus robur subsp. robur", StdValue=""),
    ]
    found = read_try_release(try_file(tmp_path / "try.txt", rows), "try", traits)
    assert found.rejected == {
        "covariate": 7,
        "duplicate": 1,
        "error_risk": 1,
        "experiment": 1,
        "juvenile": 1,
        "minimum_or_maximum": 2,
        "no_value": 1,
        "other_trait": 2,
        "out_of_range": 1,
        "unknown_unit": 1,
    }
    assert found.read == len(rows) == len(found.records) + sum(found.rejected.values())
    assert tuple(found.records.columns) == RECORD_COLUMNS
    records = found.records.set_index("record_id")
    assert list(records.index) == ["try:14:leaf_n", "try:1:sla", "try:2:height", "try:5:sla"]
    assert records.loc["try:2:height", "value"] == pytest.approx(0.12)
    assert records.loc["try:14:leaf_n", "value"] == pytest.approx(25.0)
    assert records.loc["try:1:sla", ["latitude", "longitude"]].tolist() == [48.5, 8.0]
    assert math.isnan(records.loc["try:14:leaf_n", "latitude"])
    assert records.loc["try:14:leaf_n", ["species", "genus", "growth_form"]].tolist() == [
        "Quercus robur",
        "Quercus",
        "tree",
    ]


@pytest.mark.parametrize("column", ["StdValue", "OrigObsDataID", "ErrorRisk", "TraitID"])
def test_a_try_file_with_a_missing_column_names_it(tmp_path: Path, traits: list[Trait], column: str) -> None:
    with pytest.raises(TableError, match=column):
        read_try_release(try_file(tmp_path / "try.txt", [value(1, 1)], without=column), "try", traits)


def test_a_page_or_nothing_instead_of_a_try_file(tmp_path: Path, traits: list[Trait]) -> None:
    (tmp_path / "try.txt").write_text("<html><body>log in</body></html>")
    with pytest.raises(TableError):
        read_try_release(tmp_path / "try.txt", "try", traits)
    (tmp_path / "try.txt").write_text("")
    with pytest.raises(TableError):
        read_try_release(tmp_path / "try.txt", "try", traits)
    with pytest.raises(MissingInputError, match="on request"):
        read_try_release(tmp_path / "absent.txt", "try", traits)


BROT = """"ID","TaxonID","Taxon","Trait","Data","Units","DataType","Method","Src","Region","Lat","Long","Alt","Accuracy"
"A1",1,"Cistus albidus","Height","0.25-1","m","quantitative","measure","x","W",40.1,-1.5,,"High"
"A2",1,"Cistus albidus","SLA","12.5","mm2/mg","quantitative","measure","x","W",40,-4,,"VLow"
"A3",1,"Cistus albidus","LeafArea","large","[5]","semi-quantitative","measure","x","W",,,,
"A4",1,"Cistus albidus","Height","tall","m","quantitative","measure","x","W",,,,
"A5",1,"Cistus albidus","GrowthForm","subshrub","[13]","categorical","measure","x","W",,,,
"""


def test_brot_ranges_become_their_midpoint_in_working_space(tmp_path: Path, traits: list[Trait]) -> None:
    (tmp_path / "brot.csv").write_text(BROT, encoding="latin-1")
    found = read_brot(tmp_path / "brot.csv", "brot-2", traits)
    records = found.records.set_index("record_id")
    assert records["value"].to_dict() == {
        "brot-2:A1:height": pytest.approx(0.5),
        "brot-2:A2:sla": pytest.approx(12.5),
    }
    assert set(records["growth_form"]) == {"shrub"}
    assert records["latitude"].isna().to_dict() == {"brot-2:A1:height": False, "brot-2:A2:sla": True}
    assert found.rejected == {"no_value": 1, "not_quantitative": 1, "other_trait": 1}
    (tmp_path / "brot.csv").write_text(BROT.replace("Units", "Unit"))
    with pytest.raises(TableError, match="Units"):
        read_brot(tmp_path / "brot.csv", "brot-2", traits)


def test_site_records_have_one_value_per_trait(tmp_path: Path, traits: list[Trait]) -> None:
    (tmp_path / "site.csv").write_text(
        'species,LAT_site,LON_site,sla,lnm,superPFT\n"Pinus_nigra",45,9,5.5,NA,Needleleafs\n'
        '"Poa_annua",46,10,30,25,Grasses\n'
    )
    found = read_site_records(tmp_path / "site.csv", "sites", traits)
    records = found.records.sort_values(["species", "trait"])
    assert records[["species", "trait", "value", "growth_form", "latitude"]].to_numpy().tolist() == [
        ["Pinus nigra", "sla", 5.5, "tree", 45.0],
        ["Poa annua", "leaf_n", 25.0, "herb", 46.0],
        ["Poa annua", "sla", 30.0, "herb", 46.0],
    ]
    assert found.rejected == {"no_value": 1}
    assert found.read == 4


def test_an_unknown_reader_names_the_known_ones(tmp_path: Path, traits: list[Trait]) -> None:
    with pytest.raises(InputError, match="brot, site-records, try-release"):
        read_traits("leda", tmp_path, "leda", traits)
    assert set(TRAIT_READERS) == {"try-release", "brot", "site-records"}


@pytest.mark.real
def test_the_real_try_release(real_data: Path, traits: list[Trait]) -> None:
    found = read_traits("try-release", real_data / "species_traits" / "data_TRY_15160.txt", "try", traits)
    assert found.read == 1782
    assert found.rejected["duplicate"] == 45
    assert found.rejected["error_risk"] == 4
    assert len(found.records) + sum(found.rejected.values()) == 1782
    assert found.records["latitude"].notna().sum() == 55
    assert set(found.records["trait"]) == {"sla"}


@pytest.mark.real
def test_the_other_real_trait_tables(real_data: Path, traits: list[Trait]) -> None:
    brot = read_traits("brot", real_data / "species_traits" / "BROT2_dat.csv", "brot-2", traits)
    assert brot.read == 25_764
    assert brot.records["trait"].value_counts().to_dict() == {
        "sla": 1136,
        "height": 1061,
        "leaf_area": 582,
        "leaf_n": 216,
    }
    sites = read_traits("site-records", real_data / "species_traits" / "agg_try30_pred6.csv", "sites", traits)
    assert sites.records["trait"].value_counts().to_dict() == {"leaf_n": 6898, "sla": 6710}
    assert sites.records["record_id"].is_unique
    assert np.isfinite(sites.records[["latitude", "longitude"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Tree", "tree"),
        ("dwarf shrub", "shrub"),
        ("perennial grass", "herb"),
        ("H", "herb"),
        ("shrub/tree", None),
        ("liana", None),
        ("tree fern", None),
        ("woody", None),
    ],
)
def test_growth_forms_of_try(tmp_path: Path, traits: list[Trait], text: str, form: str | None) -> None:
    rows = [value(1, 1), value(2, 1, TraitID=42, OrigValueStr=text, StdValue="")]
    found = read_try_release(try_file(tmp_path / "try.txt", rows), "try", traits).records["growth_form"][0]
    assert (None if found != found else found) == form  # noqa: PLR0124 - null is not equal to itself


@pytest.mark.parametrize("block_bytes", [300, 5000])
def test_a_release_of_many_blocks_is_read_as_one(
    tmp_path: Path, traits: list[Trait], monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr("plant_traits.sources.delimited_text._BLOCK_BYTES", block_bytes)
    # all covariates stand behind all values: places of every third, juveniles every fifth, experiments every seventh
    rows = [
        value(k, k, StdValue=10.0 + k / 10, AccSpeciesName=("Poa annua", "Bellis annua")[k % 2]) for k in range(1, 211)
    ]
    for k in range(1, 211):
        if k % 3 == 0:
            rows += [covariate(k, 60, "8", 8.0), covariate(k, 59, "48", 48.0 + k / 1000), covariate(k, 59, "0", 1.0)]
        if k % 5 == 0:
            rows += [covariate(k, 413, "Juvenile"), covariate(k, 413, "mature")]
        if k % 7 == 0:
            rows.append(covariate(k, 327, "greenhouse: pots"))
    rows.append(value(999, 3, TraitID=42, OrigValueStr="forb", AccSpeciesName="Bellis annua"))
    found = read_try_release(try_file(tmp_path / "try.txt", rows), "try", traits)
    kept = [k for k in range(1, 211) if k % 5 and k % 7]
    assert found.rejected == {
        "covariate": 210 + 84 + 30,
        "experiment": len([k for k in range(1, 211) if k % 7 == 0 and k % 5]),
        "juvenile": 42,
        "other_trait": 1,
    }
    assert found.read == len(rows)
    records = found.records.set_index("record_id")
    assert sorted(records.index) == sorted(f"try:{k}:sla" for k in kept)
    placed = records["latitude"].dropna()
    assert placed.to_dict() == {f"try:{k}:sla": pytest.approx(48.0 + k / 1000) for k in kept if k % 3 == 0}
    assert set(records.loc[records["growth_form"] == "herb", "species"]) == {"Bellis annua"}


def test_lines_of_try_with_another_number_of_fields_are_counted(tmp_path: Path, traits: list[Trait]) -> None:
    path = try_file(tmp_path / "try.txt", [value(1, 1), value(2, 1)])
    path.write_bytes(path.read_bytes() + b"a\tb\n" + b"x\t" * 40 + b"\n")
    found = read_try_release(path, "try", traits)
    assert (found.read, found.rejected, len(found.records)) == (4, {"malformed_row": 2}, 2)
    path.write_bytes("\t".join([*TRY_COLUMNS, ""]).encode() + b"\na\tb\n")
    with pytest.raises(TableError, match="28 fields"):
        read_try_release(path, "try", traits)


@pytest.mark.parametrize(
    ("field", "match"), [(b"Bellis\0", "NUL bytes"), (b"x" * 10_000_000, "more than")], ids=["NUL", "10 MB"]
)
def test_a_hostile_release_is_a_clear_error(tmp_path: Path, traits: list[Trait], field: bytes, match: str) -> None:
    path = try_file(tmp_path / "try.txt", [value(1, 1, AccSpeciesName="@")])
    path.write_bytes(path.read_bytes().replace(b"@", field))
    with pytest.raises(TableError, match=match):
        read_try_release(path, "try", traits)


@pytest.mark.real
def test_the_covariates_of_the_real_release(real_data: Path) -> None:
    release = open_try_table(real_data / "species_traits" / "data_TRY_15160.txt")
    assert len(release.header) == 28
    stated = [found for found, _, _ in release.results(["ObservationID", "DataID"], lambda rows: rows)]
    latitudes = pl.concat(stated).filter(pl.col("DataID") == 59.0)
    assert latitudes["ObservationID"].n_unique() == 98
    covariates = observation_covariates(release)
    # one has a latitude alone, and 14 have 0 as it was written, without a standard value
    assert covariates.drop_nulls(["latitude", "longitude"]).height == 83
