"""What the gate of names is worth in a virtual world where a tenth of the records has a wrong name.

Runs of one world in one workspace, which share photos, features and covariates; each maps with the names that it
accepts, and trains its own trait model on them, unless ``--one-model`` lets all map with that of the first, which tells
what names do to a map apart from what two trainings differ by:

  stated   names as they are stated
  photos   the gate, without votes
  gate     the gate, with votes
  true     the true names laid over the stated ones: what no gate can exceed

Printed are, against the world's truth, the error and correlation of the map over all land cells, and of the estimates
from photos over cells with photos; how many wrong names each gate catches (the record loses its species, is set aside
or is given the true name), and how many right names it loses; and the decisions by rank and reason.

    python benchmarks/name_gate.py --photos 1500 --species 100 --workspace /tmp/name-gate
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ARMS = ("stated", "photos", "gate", "true")
TINY = Path(__file__).parents[1] / "data_catalog" / "profiles" / "tiny.yaml"


def main() -> None:
    """Run the arms and print the tables."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--workspace", type=Path, required=True)
    words.add_argument("--photos", type=int, default=1500)
    words.add_argument("--species", type=int, default=100)
    words.add_argument("--wrong", type=float, default=0.10)
    words.add_argument("--grid", default="5deg")
    words.add_argument("--epochs", type=int, default=20)
    words.add_argument("--seed", type=int, default=7)
    words.add_argument("--one-model", action="store_true", help="map with the first arm's trait model in all arms")
    words.add_argument("--arms", nargs="*", default=ARMS, choices=ARMS)
    told = words.parse_args()
    told.workspace.mkdir(parents=True, exist_ok=True)
    overlay = told.workspace / "catalogue"
    (overlay / "profiles").mkdir(parents=True, exist_ok=True)
    write_profile(told, overlay / "profiles" / "names.yaml")
    from flows.environment import prepare_environment  # noqa: PLC0415

    prepare_environment(str(told.workspace))
    scores, decided = [], []
    for number, arm in enumerate(told.arms):
        began = time.monotonic()
        release, decisions = run_arm(arm, told.workspace, overlay, "kept" if told.one_model and number else "new")
        scores.append(pd.read_csv(release / "scores.csv").assign(arm=arm))
        if decisions is not None:
            decided.append(decisions.assign(arm=arm))
        print(f"{arm}: {time.monotonic() - began:.0f} s", flush=True)
    truth = true_names(told.workspace)
    print(score_table(pd.concat(scores, ignore_index=True)))
    if decided:
        print(catch_table(pd.concat(decided, ignore_index=True), truth))


def write_profile(told: argparse.Namespace, path: Path) -> None:
    """Write the tiny profile with a larger world, more wrong names and a larger model."""
    profile = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    profile |= {"id": "names", "title": "The virtual world with wrong names", "grid": told.grid, "workers": 2}
    profile["inputs"]["faults"] = 0.0
    profile["inputs"]["world"] |= {
        "seed": told.seed,
        "photos": told.photos,
        "species": told.species,
        "observers": max(30, told.photos // 12),
        "plots": told.photos,
        "misidentified": told.wrong,
        "photo_size": 128,
        "later_months": 0,
    }
    profile["model"] = {"ensemble": 2, "epochs": told.epochs, "hidden": 64, "blocks": 1, "batch_size": 64}
    profile["names"] = {"folds": 5, "epochs": 15}
    path.write_text(yaml.safe_dump(profile, sort_keys=False), encoding="utf-8")


def run_arm(arm: str, workspace: Path, overlay: Path, model: str) -> tuple[Path, pd.DataFrame | None]:
    """Run one arm; return its release and, of a gate, its decisions."""
    from flows import preparation  # noqa: PLC0415
    from flows.refresh import refresh  # noqa: PLC0415
    from tasks.names import gate_names, train_names_model, vote_on_names  # noqa: PLC0415

    made: dict[str, Path] = {}

    def accept(run, records, shards, features, names_gate):  # noqa: ANN001, ANN202 - as preparation.accept_names
        if arm == "true":
            return laid_over(run, shards, true_names(workspace))
        votes = vote_on_names(run, records.world, records.observations, records.names) if arm == "gate" else None
        kept = train_names_model(run, shards, features, votes)
        accepted = gate_names(run, shards, features, kept, votes)
        made["decisions"] = run.store.fetch(accepted.made_of["decisions on names"])
        return accepted

    with _instead(preparation, "accept_names", None if arm == "stated" else accept):
        release = Path(
            refresh(
                profile="names",
                workspace=str(workspace),
                catalog=[str(overlay)],
                model=model,
                names_gate="off" if arm == "stated" else "on",
            )
        ).resolve()
    decisions = None
    if made:
        rows = pd.concat([pd.read_parquet(path) for path in workspace.glob("steps/shard/*/observations.parquet")])
        first = rows.dropna(subset="photo_id").drop_duplicates("observation_id").set_index("observation_id")["photo_id"]
        decisions = pd.read_parquet(made["decisions"] / "decisions.parquet")
        decisions["photo_id"] = decisions["observation_id"].map(first)
    return release, decisions


def laid_over(run, shards, truth: pd.DataFrame):  # noqa: ANN001, ANN201 - a run and its accepted names
    """Return the live rows under their true names."""
    from plant_traits.schemas import SHARD_ROW, read_table, write_table  # noqa: PLC0415
    from plant_traits.taxa.gate.named_rows import name_rows  # noqa: PLC0415
    from tasks.names import AcceptedNames  # noqa: PLC0415

    live = run.store.members(shards.live)
    read = {name: read_table(run.store.fetch(rows) / "observations.parquet", SHARD_ROW) for name, rows in live.items()}
    everything = pd.concat(read.values(), ignore_index=True)
    taxonomy = everything.groupby("species")[["genus", "family", "growth_form"]].agg(_commonest).reset_index()
    name = truth.set_index("photo_id")["true_species"]

    def write(rows: pd.DataFrame, destination: Path) -> None:
        decisions = pd.DataFrame(
            {
                "observation_id": rows["observation_id"],
                "rank": "species",
                "name": rows["photo_id"].map(name).fillna(rows["species"]),
            }
        )
        write_table(name_rows(rows, decisions, taxonomy), destination / "observations.parquet", SHARD_ROW)

    made = {
        shard: run.store.run("true-names", partial(write, rows), code="1", inputs={"live": live[shard].digest})
        for shard, rows in read.items()
    }
    return AcceptedNames(run.store.collect("true-names-of-shards", made))


def true_names(workspace: Path) -> pd.DataFrame:
    """Return photo_id and true_species of the world in a workspace."""
    (path,) = workspace.glob("steps/world/*/truth/records.parquet")
    return pd.read_parquet(path, columns=["photo_id", "true_species", "planted"]).drop_duplicates("photo_id")


def score_table(scores: pd.DataFrame) -> str:
    """Return errors and correlations against truth by arm, trait and map, in the logarithm, as Markdown."""
    own = scores[(scores["reference"] == "truth") & (scores["scale"] == "ln") & (scores["cells"] == "own")]
    own = own[own["map"].isin(["published", "photos, mixed", "photos, mean"])]
    rows = []
    for (which, trait), part in own.groupby(["map", "trait"]):
        by_arm = part.set_index("arm")
        cells = " / ".join(
            f"{by_arm['rmse'].get(arm, np.nan):.4f} ({by_arm['pearson_r'].get(arm, np.nan):.3f})" for arm in ARMS
        )
        rows.append(f"| {which} | {trait} | {int(part['n'].max())} | {cells.replace(' / ', ' | ')} |")
    head = f"| map | trait | cells | {' | '.join(f'{arm}: RMSE (r)' for arm in ARMS)} |"
    return "\n".join([head, "|---" * (3 + len(ARMS)) + "|", *rows])


def catch_table(decided: pd.DataFrame, truth: pd.DataFrame) -> str:
    """Return how many wrong names were caught, how many right ones lost, and the decisions, as Markdown."""
    photo = truth.set_index("photo_id")["true_species"]
    lines = ["", "| arm | names | observations | as stated | right name instead | genus | growth form | set aside |"]
    lines.append("|---" * 8 + "|")
    for arm, part in decided.groupby("arm", sort=False):
        true = part["photo_id"].map(photo)
        for words, own in (("right", part["stated"] == true), ("wrong", (part["stated"] != true) & true.notna())):
            some, of = part[own], true[own]
            counts = [
                (some["name"] == some["stated"]).sum(),
                ((some["rank"] == "species") & (some["name"] != some["stated"]) & (some["name"] == of)).sum(),
                (some["rank"] == "genus").sum(),
                (some["rank"] == "growth_form").sum(),
                (some["rank"] == "none").sum(),
            ]
            told = " | ".join(f"{int(n)} ({n / max(len(some), 1):.1%})" for n in counts)
            lines.append(f"| {arm} | {words} | {len(some)} | {told} |")
    reasons = decided.groupby(["arm", "rank", "reason"], sort=False).size().rename("n").reset_index()
    lines += ["", "| arm | rank | reason | n |", "|---|---|---|---|"]
    lines += [f"| {row.arm} | {row.rank} | {row.reason} | {row.n} |" for row in reasons.itertuples()]
    return "\n".join(lines)


def _commonest(values: pd.Series) -> object:
    known = values.dropna()
    return known.mode().iloc[0] if len(known) else None


@contextmanager
def _instead(module: object, name: str, function: object) -> Iterator[None]:
    """Put a function in the place of a module's for a while; None leaves it."""
    before = getattr(module, name)
    if function is not None:
        setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)


if __name__ == "__main__":
    main()
