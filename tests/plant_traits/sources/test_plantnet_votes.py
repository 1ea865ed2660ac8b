"""Releases of Pl@ntNet-CrowdSWE in miniature, in both layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from plant_traits.errors import InputError, MissingInputError
from plant_traits.simulation.crowd import Crowd, CrowdSettings, simulate_crowd
from plant_traits.simulation.write_plantnet import write_plantnet_votes
from plant_traits.sources.plantnet_votes import read_plantnet_votes
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.plantnet_rule import plantnet_names
from plant_traits.taxa.votes.vote_table import VoteTable

Layout = Literal["first", "second"]
LAYOUTS: tuple[Layout, ...] = ("first", "second")


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return simulate_crowd(CrowdSettings(observations=300, users=80, species=40), 1)


def rows(votes: VoteTable) -> set[tuple[str, str, str, bool]]:
    return {
        (votes.observations[o], votes.users[u], votes.taxa[t], bool(a))
        for o, u, t, a in zip(votes.observation, votes.user, votes.taxon, votes.author, strict=True)
    }


def observation_id(task: int) -> str:
    return str(1000000000 + 137 * task)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_back_what_a_release_holds(crowd: Crowd, tmp_path: Path, layout: Layout) -> None:
    write_plantnet_votes(crowd, tmp_path, layout)
    found = read_plantnet_votes(tmp_path)
    given = crowd.votes
    assert rows(found.votes) == {
        (observation_id(int(o)), str(u), f"{crowd.species[t]} L.", bool(a))
        for o, u, t, a in zip(given.observation, given.user, given.taxon, given.author, strict=True)
    }
    assert 50 < len(found.truth) < 150
    true = {observation_id(task): f"{crowd.species[code]} L." for task, code in enumerate(crowd.truth)}
    assert found.truth["taxon"].tolist() == [true[key] for key in found.truth["observation_id"]]


def test_both_layouts_hold_the_same_votes_of_users_and_model(crowd: Crowd, tmp_path: Path) -> None:
    results = []
    for layout in LAYOUTS:
        write_plantnet_votes(crowd, tmp_path / layout, layout)
        votes = read_plantnet_votes(tmp_path / layout).votes
        assert votes.ai is not None
        said = {
            key: (votes.taxa[code], round(float(score), 5))
            for key, code, score in zip(votes.observations, votes.ai.taxon, votes.ai.score, strict=True)
        }
        names = plantnet_names(votes, AiOption("confident", threshold=0.5)).decisions
        results.append((said, names.set_index("observation_id").sort_index()))
    assert results[0][0] == results[1][0]
    assert any(name.startswith("Novus incognitus") for name, _ in results[0][0].values())
    assert results[0][1].equals(results[1][1])


def test_a_release_without_the_model_is_read_without_it(crowd: Crowd, tmp_path: Path) -> None:
    write_plantnet_votes(crowd, tmp_path)
    (tmp_path / "aggregation" / "ai_answers.json").unlink()
    assert read_plantnet_votes(tmp_path).votes.ai is None


def edit(path: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / path).read_text(encoding="utf-8"))
        (folder / path).write_text(json.dumps(change(content)), encoding="utf-8")

    return apply


def cut(path: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / path).read_text(encoding="utf-8")
        (folder / path).write_text(text[: len(text) // 2], encoding="utf-8")

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("answers/answers.json"), "answers.json"),
        (cut("aggregation/authors.txt"), "must be as many"),
        (edit("answers/answers.json", lambda x: x | {"0": {"3": 99999}}), "label 99999 is not among the classes"),
        (edit("answers/answers.json", lambda x: x | {"0": {"3": "rose"}}), "whole numbers"),
        (edit("answers/answers.json", lambda x: x | {"0": {"3": None}}), "no value"),
        (edit("answers/answers.json", lambda x: x | {"0": {"3": True}}), "whole numbers"),
        (edit("answers/answers.json", lambda x: x | {"0": 3}), "users and labels"),
        (edit("answers/answers.json", lambda x: x | {"0": [3, 4]}), "users and labels"),
        (edit("answers/answers.json", lambda x: x | {"999999": {"3": 1}}), "lies outside 0 to"),
        (edit("answers/answers.json", lambda _: {}), "holds no votes"),
        (edit("converters/tasks.json", lambda x: dict.fromkeys(x, 0)), "must number its tasks"),
        (edit("converters/classes.json", lambda x: dict.fromkeys(x, 0)), "stands for two names"),
        (lambda folder: (folder / "converters" / "classes.json").unlink(), "is not there"),
        (lambda folder: (folder / "aggregation" / "authors.txt").unlink(), "is not there"),
        (lambda folder: (folder / "aggregation" / "authors.txt").write_text("a\nb\n"), "one whole number per line"),
    ],
)
def test_a_damaged_release_is_an_error(
    crowd: Crowd, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    write_plantnet_votes(crowd, tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        read_plantnet_votes(tmp_path)


def test_a_folder_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="Pl@ntNet-CrowdSWE"):
        read_plantnet_votes(tmp_path)


def test_experts_who_disagree_give_no_truth(crowd: Crowd, tmp_path: Path) -> None:
    write_plantnet_votes(crowd, tmp_path, "second")
    known = {observation_id(0): [3, 3], observation_id(1): [3, 4], observation_id(2): [], observation_id(3): -1}
    (tmp_path / "votes" / "ground_truth.json").write_text(json.dumps(known), encoding="utf-8")
    found = read_plantnet_votes(tmp_path).truth
    assert found["observation_id"].tolist() == [observation_id(0)]


def test_a_task_that_stands_twice_keeps_the_later_vote_of_a_user(crowd: Crowd, tmp_path: Path) -> None:
    write_plantnet_votes(crowd, tmp_path)
    path = tmp_path / "answers" / "answers.json"
    text = path.read_text(encoding="utf-8").rstrip()
    user = int(crowd.votes.user[np.flatnonzero(crowd.votes.observation == 0)[0]])
    path.write_text(f'{text[:-1]}, "0": {{"{user}": 7}}}}', encoding="utf-8")
    votes = read_plantnet_votes(tmp_path).votes
    assert votes.losses["superseded"] == 1
    assert (observation_id(0), str(user), f"{crowd.species[7]} L.") in {row[:3] for row in rows(votes)}
