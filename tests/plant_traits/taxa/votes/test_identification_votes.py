"""iNaturalist's identifications, as its source writes them, become votes."""

from __future__ import annotations

import pandas as pd
import pytest

from plant_traits.errors import TableError
from plant_traits.sources.inaturalist.observations import IDENTIFICATION, identifications
from plant_traits.taxa.votes.agreement import majority_names
from plant_traits.taxa.votes.identification_votes import identification_votes


def entry(number: int, user: int, name: str | None, **more: object) -> dict[str, object]:
    taxon = None if name is None else {"id": 10 + number, "name": name, "rank": more.pop("rank", "species")}
    return {
        "id": number,
        "user": {"id": user, "login": f"login{user}"},
        "taxon": taxon,
        "current": True,
        "own_observation": False,
        "disagreement": False,
        "created_at": "2026-05-01T10:00:00+00:00",
    } | more


OBSERVATIONS = [
    {
        "id": 1,
        "identifications": [
            entry(1, 7, "Salvia pratensis", own_observation=True, current=False),
            entry(2, 7, "Salvia nemorosa", own_observation=True),
            entry(3, 8, "Salvia nemorosa subsp. tesquicola", rank="subspecies"),
            entry(4, 9, "Salvia", rank="genus", disagreement=None),
        ],
    },
    {"id": 2, "identifications": [entry(5, 7, None), entry(6, 8, "Mentha × piperita", rank="hybrid")]},
]


def frame() -> pd.DataFrame:
    return pd.DataFrame(identifications(OBSERVATIONS), columns=IDENTIFICATION.names)


def test_species_votes_leave_out_what_is_withdrawn_and_what_is_coarser() -> None:
    votes, left_out = identification_votes(frame())
    assert left_out == {"withdrawn": 1, "unnamed": 1, "above_species": 1}
    rows = {
        (votes.observations[o], votes.users[u]): (votes.taxa[t], bool(a))
        for o, u, t, a in zip(votes.observation, votes.user, votes.taxon, votes.author, strict=True)
    }
    first, second = (f"https://www.inaturalist.org/observations/{k}" for k in (1, 2))
    assert rows == {
        (first, "7"): ("Salvia nemorosa", True),
        (first, "8"): ("Salvia nemorosa", False),
        (second, "8"): ("Mentha piperita", False),
    }
    assert majority_names(votes).set_index("observation_id").loc[first, "accuracy"] == 1.0


def test_all_ranks_keep_names_as_they_stand_with_order_and_disagreement() -> None:
    votes, left_out = identification_votes(frame(), "all")
    assert left_out == {"withdrawn": 1, "unnamed": 1}
    assert votes.losses["incomplete"] == 0
    rows = {
        votes.taxa[t]: (int(s), int(d)) for t, s, d in zip(votes.taxon, votes.sequence, votes.disagreement, strict=True)
    }
    assert rows == {
        "Salvia nemorosa": (2, 0),
        "Salvia nemorosa subsp. tesquicola": (3, 0),
        "Salvia": (4, -1),
        "Mentha × piperita": (6, 0),
    }


def test_the_latest_current_identification_of_a_user_counts() -> None:
    given = [entry(1, 7, "Aa bb"), entry(9, 7, "Cc dd"), entry(5, 7, "Ee ff")]
    table = pd.DataFrame(identifications([{"id": 1, "identifications": given}]), columns=IDENTIFICATION.names)
    votes, _ = identification_votes(table.iloc[::-1])
    assert votes.taxa[votes.taxon].tolist() == ["Cc dd"]
    assert votes.losses["superseded"] == 2


def test_a_table_without_its_columns_is_an_error() -> None:
    with pytest.raises(TableError, match="current"):
        identification_votes(frame().drop(columns="current"))


def test_an_explicit_disagreement_keeps_what_it_is_with() -> None:
    finer = {"id": 99, "name": "Salvia nemorosa", "rank": "species"}
    given = [
        entry(1, 7, "Salvia nemorosa", own_observation=True),
        entry(2, 8, "Salvia", rank="genus", disagreement=True, previous_observation_taxon=finer),
        entry(3, 9, "Lamiaceae", rank="family", disagreement=False, previous_observation_taxon=finer),
    ]
    table = pd.DataFrame(identifications([{"id": 1, "identifications": given}]), columns=IDENTIFICATION.names)
    votes, _ = identification_votes(table, "all")
    assert votes.disagrees_with is not None
    rows = zip(votes.taxa[votes.taxon], votes.disagreement, votes.disagrees_with, strict=True)
    told = {name: (int(how), votes.taxa[finer] if finer >= 0 else None) for name, how, finer in rows}
    assert told == {"Salvia nemorosa": (0, None), "Salvia": (1, "Salvia nemorosa"), "Lamiaceae": (0, None)}


def test_synonyms_count_as_one_species_under_accepted_names() -> None:
    given = [entry(1, 7, "Rosmarinus officinalis", own_observation=True), entry(2, 8, "Salvia rosmarinus")]
    table = pd.DataFrame(identifications([{"id": 1, "identifications": given}]), columns=IDENTIFICATION.names)
    answers = pd.DataFrame(
        {
            "name": ["Rosmarinus officinalis"],
            "match_type": ["EXACT"],
            "accepted_species": ["Salvia rosmarinus"],
            "genus": ["Salvia"],
            "family": ["Lamiaceae"],
            "homonyms": [False],
        }
    )
    votes, _ = identification_votes(table, answers=answers)
    assert votes.taxa[votes.taxon].tolist() == ["Salvia rosmarinus"] * 2


def test_categories_give_the_same_votes_as_text() -> None:
    texts = frame()
    categories = texts.astype({name: "category" for name in ("occurrence_id", "user_id", "taxon_name", "rank")})
    for ranks in ("species", "all"):
        one, other = (identification_votes(x, ranks)[0] for x in (texts, categories))
        told = [
            {(x.observations[o], x.users[u], x.taxa[t]) for o, u, t in zip(x.observation, x.user, x.taxon, strict=True)}
            for x in (one, other)
        ]
        assert told[0] == told[1] and len(told[0]) == len(one)
