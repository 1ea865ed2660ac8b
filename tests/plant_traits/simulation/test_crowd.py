"""The simulated crowd, and what the rules make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import InputError
from plant_traits.simulation.crowd import KINDS, Crowd, CrowdSettings, simulate_crowd, with_model
from plant_traits.taxa.votes.agreement import majority_names, two_thirds_names, worker_agreement_names
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.plantnet_rule import OVERRULING_SPECIES, plantnet_names
from plant_traits.taxa.votes.rule_scores import RuleScore, score_rule

SEEDS = (0, 1, 2)


def truth_of(crowd: Crowd) -> pd.DataFrame:
    names = np.array(crowd.species, dtype=object)[crowd.truth]
    return pd.DataFrame({"observation_id": crowd.votes.observations, "taxon": names})


@pytest.fixture(scope="module")
def crowds() -> list[Crowd]:
    return [simulate_crowd(CrowdSettings(observations=8000, users=1500, species=300), seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def scored(crowds: list[Crowd]) -> list[dict[str, RuleScore]]:
    return [
        {
            "plantnet": score_rule(plantnet_names(crowd.votes).decisions, truth_of(crowd)),
            "agreement": score_rule(worker_agreement_names(crowd.votes), truth_of(crowd)),
            "majority": score_rule(majority_names(crowd.votes), truth_of(crowd)),
            "two thirds": score_rule(two_thirds_names(crowd.votes), truth_of(crowd)),
        }
        for crowd in crowds
    ]


def test_kinds_name_as_well_as_they_should(crowds: list[Crowd]) -> None:
    crowd = crowds[0]
    votes = crowd.votes
    right = votes.taxon == crowd.truth[votes.observation]
    kind = crowd.kind[votes.user]
    of_kind = {name: right[kind == code].mean() for code, name in enumerate(KINDS[:3])}
    assert of_kind["expert"] == pytest.approx(0.97, abs=0.015)
    assert 0.45 < of_kind["novice"] < 0.85
    assert of_kind["spammer"] < 0.03
    assert (kind == KINDS.index("spammer")).mean() == pytest.approx(0.05, abs=0.01)
    assert len(votes) / len(votes.observations) == pytest.approx(1.35, abs=0.03)


def test_species_have_a_long_tail_and_all_are_observed(crowds: list[Crowd]) -> None:
    count = np.sort(np.bincount(crowds[0].truth))[::-1]
    assert len(count) == 300
    assert count[0] > 100 * count[-1] >= 100
    assert count[:30].sum() > 0.5 * count.sum()


def test_the_same_seed_gives_the_same_crowd_and_another_another() -> None:
    settings = CrowdSettings(observations=200, users=50, species=20)
    one, same, other = (simulate_crowd(settings, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.votes.taxon, same.votes.taxon)
    assert np.array_equal(one.votes.user, same.votes.user)
    assert not np.array_equal(one.truth, other.truth)


def test_adversaries_leave_the_votes_of_others_as_they_are() -> None:
    quiet = simulate_crowd(CrowdSettings(observations=500, users=100, species=40), 5)
    loud = simulate_crowd(CrowdSettings(observations=500, users=100, species=40, adversaries=0.05), 5)
    of_others = loud.kind[loud.votes.user] != KINDS.index("adversary")
    for name in ("observation", "user", "taxon", "author"):
        assert np.array_equal(getattr(loud.votes, name)[of_others], getattr(quiet.votes, name))
    wrong = loud.votes.taxon[~of_others] != loud.truth[loud.votes.observation[~of_others]]
    assert wrong.all()
    assert (~of_others).sum() == pytest.approx(5 * 7, abs=2)


def test_names_are_right_in_the_published_order(scored: list[dict[str, RuleScore]]) -> None:
    for of_rule in scored:
        accuracy = {rule: score.accuracy for rule, score in of_rule.items()}
        assert accuracy["plantnet"] > accuracy["agreement"] > accuracy["majority"] > accuracy["two thirds"]


def test_the_plantnet_rule_keeps_more_than_two_thirds_at_no_lower_accuracy(scored: list[dict[str, RuleScore]]) -> None:
    for of_rule in scored:
        ours, thirds = of_rule["plantnet"], of_rule["two thirds"]
        assert ours.accepted > 1.5 * thirds.accepted
        assert ours.species_kept > thirds.species_kept
        assert ours.accepted_accuracy > thirds.accepted_accuracy - 0.01
        assert ours.accepted_accuracy > of_rule["majority"].accepted_accuracy + 0.1


@pytest.mark.parametrize("agreeing", [1, 2])
def test_adversaries_do_not_lower_accepted_accuracy_by_a_point(
    scored: list[dict[str, RuleScore]], agreeing: int
) -> None:
    for seed, of_rule in zip(SEEDS, scored, strict=True):
        settings = CrowdSettings(observations=8000, users=1500, species=300, adversaries=0.05, agreeing=agreeing)
        crowd = simulate_crowd(settings, seed)
        found = score_rule(plantnet_names(crowd.votes).decisions, truth_of(crowd))
        assert found.accepted_accuracy > of_rule["plantnet"].accepted_accuracy - 0.01


@pytest.mark.parametrize(("agreeing", "zeal"), [(3, 1.0), (10, 1.0), (3, 10.0)])
def test_a_history_to_overrule_holds_off_groups_of_any_size(agreeing: int, zeal: float) -> None:
    for seed in SEEDS:
        quiet = CrowdSettings(observations=8000, users=1500, species=300)
        loud = replace(quiet, adversaries=0.05, agreeing=agreeing, zeal=zeal)
        lost = {}
        for least in (0, OVERRULING_SPECIES):
            of_crowd = [
                score_rule(plantnet_names(crowd.votes, overruling_species=least).decisions, truth_of(crowd))
                for crowd in (simulate_crowd(settings, seed) for settings in (quiet, loud))
            ]
            lost[least] = of_crowd[0].accepted_accuracy - of_crowd[1].accepted_accuracy
        assert lost[OVERRULING_SPECIES] < 0.01
        assert lost[0] > (0.01 if agreeing == 3 else 0.005)


def test_zeal_multiplies_the_votes_of_adversaries() -> None:
    def votes(zeal: float) -> int:
        crowd = simulate_crowd(CrowdSettings(adversaries=0.05, agreeing=3, zeal=zeal), 0)
        return int((crowd.kind[crowd.votes.user] == KINDS.index("adversary")).sum())

    assert votes(4.0) == pytest.approx(4 * votes(1.0), rel=0.02)


def test_a_model_that_may_invalidate_holds_off_groups_of_three(crowds: list[Crowd]) -> None:
    # Three newcomers weigh 2.23 and so outvote one; with a model against them they do not validate.
    for seed, quiet in zip(SEEDS, crowds, strict=True):
        settings = CrowdSettings(observations=8000, users=1500, species=300, adversaries=0.05, agreeing=3)
        loud = simulate_crowd(settings, seed)
        lost = {}
        for mode in ("ignored", "invalidating"):
            accuracy = [
                score_rule(
                    plantnet_names(with_model(crowd, 0.8, seed).votes, AiOption(mode)).decisions, truth_of(crowd)
                ).accepted_accuracy
                for crowd in (quiet, loud)
            ]
            lost[mode] = accuracy[0] - accuracy[1]
        assert lost["invalidating"] < 0.005
        assert lost["ignored"] > 0.01


def test_a_model_is_as_skilled_as_asked_and_surer_where_it_is_right(crowds: list[Crowd]) -> None:
    crowd = with_model(crowds[0], 0.8, 0)
    ai = crowd.votes.ai
    assert ai is not None
    right = ai.taxon == crowd.truth
    assert right.mean() == pytest.approx(0.8, abs=0.015)
    assert ai.score[right].mean() == pytest.approx(5 / 7, abs=0.01)
    assert ai.score[~right].mean() == pytest.approx(1 / 3, abs=0.02)
    assert np.array_equal(crowd.votes.taxon, crowds[0].votes.taxon)


@pytest.mark.parametrize(
    "bad",
    [
        {"species": 4},
        {"observations": 10},
        {"users": 3},
        {"votes": 0.5},
        {"agreeing": 0},
        {"zeal": 0.0},
        {"experts": 0.8, "spammers": 0.5},
    ],
)
def test_a_crowd_that_cannot_be_is_an_error(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="crowd: expected"):
        CrowdSettings(**bad)  # type: ignore[arg-type]
