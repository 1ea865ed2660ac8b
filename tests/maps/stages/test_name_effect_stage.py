"""The stage that tells what the gate of names did: counts of the decisions, and the cells of two namings met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_catalog import Catalog
from maps.stages.comparison import COMPARED
from maps.stages.name_effect import GateOutputs, read_names, tell_names
from plant_traits.name_schemas import NAME_DECISION
from plant_traits.observations.shards import OBSERVATIONS_FILE
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import ESTIMATE, SHARD_ROW, write_table
from plant_traits.stages.name_gate import DECISIONS, gather_decisions

CELLS = [700, 701, 702]
DECIDED = [
    # stated, rank, name, reason
    ("Poa annua", "species", "Poa annua", "photo"),
    ("Poa annua", "species", "Poa pratensis", "votes"),
    ("Poa annua", "species", "Poa annua", "votes"),
    ("Acer rubrum", "genus", "Acer", "coarser"),
    ("Acer rubrum", "none", None, "not_a_plant"),
]


@pytest.fixture
def spec(catalog: Catalog) -> RunSpec:
    return RunSpec.resolve("tiny", grid="5deg", catalog=catalog)


def write_estimates(folder: Path, spec: RunSpec, location: float) -> Path:
    """Cells of standard error 1 whose mean is this."""
    folder.mkdir()
    frame = pd.DataFrame({name: 1.0 for name in ESTIMATE.names}, index=range(len(CELLS)))
    counted = {name: 5 for name in ("n_photos", "n_species", "n_observers")}
    frames = [frame.assign(cell=CELLS, location=location, trait=trait.id, **counted) for trait in spec.traits]
    write_table(pd.concat(frames), folder / f"photo-{spec.profile.published_estimator}.parquet", ESTIMATE)
    return folder


@pytest.fixture
def decisions(tmp_path: Path) -> Path:
    """What the gate gathered of one shard of five observations, one of them without a photo."""
    for name in ("judged", "live", "decisions"):
        (tmp_path / name).mkdir()
    ids = [f"o{k}" for k in range(len(DECIDED))]
    table = pd.DataFrame(DECIDED, columns=["stated", "rank", "name", "reason"]).assign(observation_id=ids)
    write_table(table.reindex(columns=NAME_DECISION.names), tmp_path / "judged" / DECISIONS, NAME_DECISION)
    rows = pd.DataFrame({"observation_id": ids, "photo_id": [None, *(f"p{k}" for k in range(1, len(ids)))]})
    write_table(rows.reindex(columns=SHARD_ROW.names).astype(object), tmp_path / "live" / OBSERVATIONS_FILE, SHARD_ROW)
    gather_decisions(tmp_path / "decisions", decided={"s": tmp_path / "judged"}, live={"s": tmp_path / "live"}, told={})
    return tmp_path / "decisions"


def test_decisions_are_counted_and_namings_met(tmp_path: Path, spec: RunSpec, decisions: Path) -> None:
    accepted, stated = (write_estimates(tmp_path / name, spec, mean) for name, mean in (("a", 2.0), ("s", 2.5)))
    comparison, effect = tmp_path / "comparison", tmp_path / "effect"
    comparison.mkdir()
    effect.mkdir()
    truth = pd.DataFrame({"kind": "references", "name": "truth", "trait": spec.traits[0].id, "cell": CELLS})
    truth.assign(location=np.float32(2.0)).to_parquet(comparison / COMPARED, index=False)
    summary = tell_names(
        effect, spec=spec, decisions=decisions, accepted=accepted, stated=stated, comparison=comparison
    )
    assert summary == {
        "in": {"observations": 5},
        "out": {"names at genus": 1, "names at species": 3},
        "set aside": {"names": 1},
    }
    told = read_names(GateOutputs(decisions, effect))
    counts = told.counts.set_index(["rank", "reason"])
    assert counts["n"].to_dict() == {
        ("genus", "coarser"): 1,
        ("none", "not_a_plant"): 1,
        ("species", "photo"): 1,
        ("species", "votes"): 2,
    }
    assert counts["renamed"].tolist() == [0, 0, 0, 1]
    assert told.effect["trait"].tolist() == [trait.id for trait in spec.traits]
    assert told.effect["cells"].tolist() == [3] * len(spec.traits)
    np.testing.assert_allclose(told.effect["rms_difference"], 0.5)
    (row,) = told.errors.to_dict("records")
    assert (row["reference"], row["trait"], row["n"]) == ("truth", spec.traits[0].id, 3)
    assert (row["rmse_stated"], row["rmse_accepted"]) == (pytest.approx(0.5), pytest.approx(0.0))
