"""The stage of votes: names of a run's observations, counted against what is stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plant_traits.errors import TableError
from plant_traits.name_schemas import VOTED_NAME, VOTES
from plant_traits.schemas import OBSERVATION, read_table, write_table
from plant_traits.sources.inaturalist.observations import IDENTIFICATION
from plant_traits.stages.votes import name_by_votes, state_of_identifications
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.vote_rule import VoteRule

TAXA = [
    (1, "Lamiaceae", "family", None), (2, "Salvia", "genus", "1"), (3, "Salvia pratensis", "species", "1/2"),
    (4, "Salvia nemorosa", "species", "1/2"), (5, "Rosmarinus officinalis", "species", "1"),
    (6, "Salvia nemorosa tesquicola", "subspecies", "1/2/4"),
]  # fmt: skip
NAMED = {number: (name, rank) for number, name, rank, _ in TAXA}
Vote = tuple[str, str, int, bool]  # observation, user, taxon, own


def mirror(folder: Path, votes: list[Vote], **more: Any) -> Path:  # noqa: ANN401
    folder.mkdir()
    rows = [
        {
            "occurrence_id": observation,
            "observation_id": 7,
            "identification_id": k,
            "user_id": user,
            "taxon_id": taxon,
            "taxon_name": NAMED[taxon][0],
            "rank": NAMED[taxon][1],
            "current": True,
            "own_observation": own,
            "disagreement": False,
            **more,
        }
        for k, (observation, user, taxon, own) in enumerate(votes)
    ]
    pq.write_table(pa.Table.from_pylist(rows, IDENTIFICATION), folder / "identifications.parquet")
    columns = ["taxon_id", "name", "rank", "ancestry"]
    pd.DataFrame(TAXA, columns=columns).assign(active=True).to_parquet(folder / "taxa.parquet")
    return folder


def observations(folder: Path, stated: dict[str, str | None]) -> Path:
    folder.mkdir()
    frame = pd.DataFrame({name: None for name in OBSERVATION.names}, index=range(len(stated)))
    frame = frame.assign(observation_id=list(stated), species=list(stated.values()), flags=0)
    write_table(pd.concat([frame, frame.iloc[:1]]), folder / "observations.parquet", OBSERVATION)  # a second photo
    return folder


STATED = {
    "o:confirmed": "Salvia pratensis", "o:contradicted": "Salvia pratensis", "o:doubted": "Salvia pratensis",
    "o:alone": "Salvia pratensis", "o:silent": "Salvia pratensis",
}  # fmt: skip


def confirmed(observation: str, taxon: int, tag: str) -> list[Vote]:
    """An author with n = 1 for it, and two who agree."""
    return [(observation, f"{tag}{k}", taxon, k == 0) for k in range(3)]


VOTED = [
    *confirmed("o:confirmed", 3, "a"),
    *confirmed("x:1", 4, "known"),  # of another month
    *confirmed("x:2", 3, "known"),
    ("o:contradicted", "b", 3, True),
    ("o:contradicted", "known0", 6, False),  # a subspecies counts for its species
    ("o:contradicted", "c", 4, False),
    ("o:contradicted", "d", 4, False),
    ("o:doubted", "e", 3, True),
    ("o:doubted", "f", 4, False),
    ("o:doubted", "g", 4, False),
    ("o:doubted", "g2", 4, False),
    ("o:alone", "h", 3, True),
    ("o:alone", "i", 2, False),  # above species
]


def named(tmp_path: Path, votes: list[Vote], stated: dict[str, str | None], **more: Any) -> tuple[Any, pd.DataFrame]:  # noqa: ANN401
    out = tmp_path / "out"
    out.mkdir()
    summary = name_by_votes(
        out, identifications=[mirror(tmp_path / "m", votes)], observations=observations(tmp_path / "o", stated), **more
    )
    return summary, read_table(out / VOTES, VOTED_NAME).set_index("observation_id")


def test_votes_of_all_observations_name_those_of_the_run(tmp_path: Path) -> None:
    summary, found = named(tmp_path, VOTED, dict(STATED))
    assert found.index.tolist() == ["o:alone", "o:confirmed", "o:contradicted", "o:doubted"]
    assert found["name"].tolist() == ["Salvia pratensis", "Salvia pratensis", "Salvia nemorosa", "Salvia nemorosa"]
    assert found["valid"].tolist() == [False, True, True, False]
    assert found["n_votes"].tolist() == [1, 3, 4, 4]
    # known0 named two species of his own rightly: f(2) beside two newcomers, against one.
    assert found.loc["o:contradicted", "confidence"] == pytest.approx(1.007453 + 2 * 0.741937, abs=1e-5)
    assert found.loc["o:doubted", "reason"] == "overruled by newcomers"
    assert found.loc["o:alone", "reason"] == "low confidence"
    assert summary["out"] == {
        "observations with votes": 4, "valid": 2, "confirmed": 1, "contradicted": 1, "doubted": 1, "with one vote": 1,
        "without votes": 1,
    }  # fmt: skip
    assert summary["in"] == {"identifications": 19, "observations": 5}
    assert summary["lost"] == {
        "identifications above species": 1,
        "names of observations that the run does not have": 2,
    }


def test_a_name_is_compared_under_its_accepted_name(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    row = {
        "name": "Rosmarinus officinalis", "match_type": "EXACT", "accepted_species": "Salvia rosmarinus",
        "genus": "Salvia", "family": "Lamiaceae", "homonyms": False,
    }  # fmt: skip
    pd.DataFrame([row]).to_parquet(folder / "names.parquet")
    stated: dict[str, str | None] = {"o:1": "Salvia rosmarinus"}
    summary, found = named(tmp_path, confirmed("o:1", 5, "a"), stated, names=folder)
    assert found["name"].tolist() == ["Salvia rosmarinus"]
    assert summary["out"]["confirmed"] == 1


def test_the_community_rule_names_by_the_tree_and_writes_species(tmp_path: Path) -> None:
    votes = [("o:1", "a", 6, True), ("o:1", "b", 6, False), ("o:2", "a", 3, True), ("o:2", "b", 4, False)]
    stated: dict[str, str | None] = {"o:1": "Salvia nemorosa", "o:2": "Salvia pratensis"}
    summary, found = named(tmp_path, votes, stated, rule=VoteRule("community"))
    assert found["name"].tolist() == ["Salvia nemorosa", "Salvia"]
    assert found["valid"].tolist() == [True, False]
    assert found.loc["o:2", "reason"] == "above species"
    assert summary["out"]["confirmed"] == 1 and summary["out"]["doubted"] == 1


def test_a_models_votes_count_where_the_rule_lets_them(tmp_path: Path) -> None:
    ai = tmp_path / "ai.parquet"
    said = {"observation_id": ["o:1", "o:9"], "taxon": ["Salvia nemorosa"] * 2, "score": [0.9, 0.9]}
    pd.DataFrame(said).to_parquet(ai)
    votes, stated = [("o:1", "a", 4, True)], {"o:1": "Salvia nemorosa"}
    rule = VoteRule(ai=AiOption("fixed"))
    summary, found = named(tmp_path, votes, dict(stated), rule=rule, ai=ai)
    assert found["valid"].tolist() == [True]  # 0.741937 + 1.7
    assert found["confidence"].tolist() == pytest.approx([2.441937], abs=1e-6)
    assert summary["lost"] == {"votes ai without votes": 1}


def test_nothing_to_name_is_an_empty_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    of_run = observations(tmp_path / "o", dict(STATED))
    summary = name_by_votes(out, identifications=[mirror(tmp_path / "m", [])], observations=of_run)
    assert len(read_table(out / VOTES, VOTED_NAME)) == 0
    assert summary["out"]["without votes"] == 5
    summary = name_by_votes(out, identifications=[], observations=of_run)
    assert summary["in"]["identifications"] == 0


def test_the_state_follows_what_was_fetched(tmp_path: Path) -> None:
    one, same = (mirror(tmp_path / name, VOTED) for name in ("a", "b"))
    other = mirror(tmp_path / "c", VOTED[:-1])
    assert state_of_identifications([one]) == state_of_identifications([same])
    assert state_of_identifications([one]) != state_of_identifications([other])
    with pytest.raises(FileNotFoundError):
        state_of_identifications([tmp_path])


def test_broken_tables_are_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    of_run, folder = observations(tmp_path / "o", dict(STATED)), mirror(tmp_path / "m", VOTED)
    pd.DataFrame({"occurrence_id": ["x"]}).to_parquet(folder / "identifications.parquet")
    with pytest.raises(TableError, match=r"(?s)with the columns .*user_id.*fetch them anew"):
        name_by_votes(out, identifications=[folder], observations=of_run)
    (folder / "identifications.parquet").write_bytes(b"no table")
    with pytest.raises(TableError, match="expected a table of identifications"):
        name_by_votes(out, identifications=[folder], observations=of_run)
