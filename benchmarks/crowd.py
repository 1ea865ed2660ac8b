"""What each rule makes of a simulated crowd: how many names are right, how many are accepted, and under attack.

The simulated crowd is that of ``plant_traits.simulation.crowd``: a vote and a third per observation as in Pl@ntNet's
public data set, 600 long-tailed species, few experts, spammers with a twentieth of the votes. Numbers are means over
seeds, with the standard deviation among seeds.

    python benchmarks/crowd.py 10
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd

from plant_traits.simulation.crowd import Crowd, CrowdSettings, simulate_crowd, with_model
from plant_traits.taxa.votes.agreement import majority_names, two_thirds_names, worker_agreement_names
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.community_rule import community_names
from plant_traits.taxa.votes.plantnet_rule import OVERRULING_SPECIES, plantnet_names
from plant_traits.taxa.votes.rule_scores import score_rule
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_table import VoteTable

MODEL_SKILL, THRESHOLD = 0.8, 0.7
GROUPS = (1, 2, 3, 10)  # adversaries who agree on a name
NO_MODEL = "no model"
GATE = "the gate's: a history to overrule"
ZEAL = 10.0
OPTIONS = {
    NO_MODEL: AiOption(),
    "fixed weight 1.7": AiOption("fixed"),
    "invalidating": AiOption("invalidating"),
    f"confident from {THRESHOLD}": AiOption("confident", threshold=THRESHOLD),
}


def community(votes: VoteTable) -> pd.DataFrame:
    """Run iNaturalist's rule on species and genera below one root."""
    species = pd.Series(votes.taxa)
    genus = species.str.partition(" ")[0]
    rows = [
        pd.DataFrame({"taxon": species, "parent": genus, "rank": "species"}),
        pd.DataFrame({"taxon": genus.unique(), "parent": "Plantae", "rank": "genus"}),
        pd.DataFrame({"taxon": ["Plantae"], "parent": [None], "rank": ["kingdom"]}),
    ]
    return community_names(votes, Taxonomy.of(pd.concat(rows, ignore_index=True)))


RULES: dict[str, Callable[[VoteTable], pd.DataFrame]] = {
    "Pl@ntNet, as published": lambda votes: plantnet_names(votes).decisions,
    GATE: lambda votes: plantnet_names(votes, overruling_species=OVERRULING_SPECIES).decisions,
    "worker agreement": worker_agreement_names,
    "majority": majority_names,
    "two thirds": two_thirds_names,
    "iNaturalist": community,
}
SCORES = {
    "accuracy": "right, of all",
    "accepted": "accepted",
    "accepted_accuracy": "right, of accepted",
    "species_kept": "species kept",
}


def truth_of(crowd: Crowd) -> pd.DataFrame:
    """Return the true names of a crowd's observations."""
    names = np.array(crowd.species, dtype=object)[crowd.truth]
    return pd.DataFrame({"observation_id": crowd.votes.observations, "taxon": names})


def scores(settings: CrowdSettings, seeds: range, least_votes: int = 1) -> pd.DataFrame:
    """Return one row per rule and seed."""
    rows = []
    for seed in seeds:
        crowd = simulate_crowd(settings, seed)
        truth = truth_of(crowd)
        rows += [
            {"rule": rule, "seed": seed} | asdict(score_rule(names(crowd.votes), truth, least_votes))
            for rule, names in RULES.items()
        ]
    return pd.DataFrame(rows)


def scores_of_options(settings: CrowdSettings, seeds: range) -> pd.DataFrame:
    """Return one row per option of a model's votes and seed, under the Pl@ntNet rule."""
    rows = []
    for seed in seeds:
        crowd = with_model(simulate_crowd(settings, seed), MODEL_SKILL, seed)
        truth = truth_of(crowd)
        rows += [
            {"rule": name, "seed": seed} | asdict(score_rule(plantnet_names(crowd.votes, option).decisions, truth))
            for name, option in OPTIONS.items()
        ]
    return pd.DataFrame(rows)


def table(found: pd.DataFrame) -> str:
    """Return the scores as Markdown, percent."""
    lines = [f"| rule | {' | '.join(SCORES.values())} |", "|---|" + "---:|" * len(SCORES)]
    for rule in found["rule"].unique():
        own = 100 * found[found["rule"] == rule][list(SCORES)]
        cells = [f"{own[name].mean():.1f} ± {own[name].std():.1f}" for name in SCORES]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def attacks(seeds: range, zeal: float) -> str:
    """Return what adversaries change, as Markdown, points of the accuracy of accepted names."""

    def accepted(adversaries: float, agreeing: int) -> pd.DataFrame:
        settings = CrowdSettings(adversaries=adversaries, agreeing=agreeing, zeal=zeal)
        options = scores_of_options(settings, seeds)
        options = options[options["rule"] != NO_MODEL].assign(rule="Pl@ntNet, model " + options["rule"])
        found = pd.concat([scores(settings, seeds), options])
        return found.pivot_table(index="rule", columns="seed", values="accepted_accuracy", sort=False)

    before = accepted(0.0, 1)
    lines = [f"| rule | {' | '.join(f'groups of {k}' for k in GROUPS)} |", "|---|" + "---:|" * len(GROUPS)]
    changes = {k: 100 * (accepted(0.05, k) - before) for k in GROUPS}
    for rule in before.index:
        own = [change.loc[rule] for change in changes.values()]
        lines.append(f"| {rule} | {' | '.join(f'{x.mean():+.2f} ± {x.std():.2f}' for x in own)} |")
    return "\n".join(lines)


def main(n_seeds: int) -> None:
    """Print the tables."""
    seeds = range(n_seeds)
    print(f"All observations, {n_seeds} seeds, percent:\n\n{table(scores(CrowdSettings(), seeds))}\n")
    print(f"Observations with two votes or more:\n\n{table(scores(CrowdSettings(), seeds, 2))}\n")
    print(f"The Pl@ntNet rule with a model that is right in {MODEL_SKILL:.0%}:\n")
    print(f"{table(scores_of_options(CrowdSettings(), seeds))}\n")
    print("Adversaries, 5 % of the users, who agree in groups; change of accuracy of accepted names, points:\n")
    print(attacks(seeds, 1.0))
    print(f"\nThe same where each of them gives {ZEAL:.0f} times as many votes as an average user:\n")
    print(attacks(seeds, ZEAL))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
