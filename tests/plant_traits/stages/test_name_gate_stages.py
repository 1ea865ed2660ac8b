"""Names learned from shards, the gate for a shard, and what it set aside in all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import InputError, ModelError
from plant_traits.model.features import PhotoFeatures, write_features
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.name_schemas import NAME_DECISION, VOTED_NAME
from plant_traits.schemas import SHARD_ROW, read_table, write_table
from plant_traits.stages.name_gate import accept_shard, as_text, cut_votes, gate_shard, gather_decisions
from plant_traits.stages.train_names import NamedShard, train_names_on_images, train_names_on_shards
from plant_traits.taxa.gate.fitting import CrossFitting
from plant_traits.taxa.gate.settings import GateSettings

SPECIES = ["Acer rubrum", "Acer saccharum", "Quercus robur", "Rosa alba", "Rosa canina", "Poa annua"]
FORMS = {"Acer": "tree", "Quercus": "tree", "Rosa": "shrub", "Poa": "herb"}
ENCODER = "an encoder, as it is"
N, WRONG = 260, 20
GATE = GateSettings().parameters


def how() -> CrossFitting:
    plain = CrossFitting()
    small = replace(plain.fit.how, epochs=8, hidden=0, embedding=8, learning_rate=0.02, dropout=0.0)
    return replace(plain, folds=3, fit=replace(plain.fit, how=small))


def shard_rows(species: np.ndarray, start: int) -> pd.DataFrame:
    n = len(species)
    rng = np.random.default_rng(start)
    table = SHARD_ROW.empty_table().to_pandas().reindex(range(n))
    table["observation_id"] = [f"o{start + k}" for k in range(n)]
    table["photo_id"] = [f"p{start + k}" for k in range(n)]
    table["photo_url"] = "https://photos.example/" + table["photo_id"]
    table["species"] = species
    table["genus"] = table["species"].str.split(" ").str[0]
    table["growth_form"] = table["genus"].map(FORMS)
    table["latitude"], table["longitude"] = rng.uniform(0, 10, n), rng.uniform(0, 10, n)
    table["observer"] = [f"observer {k}" for k in rng.integers(0, 40, n)]
    table["licence"], table["attribution"] = "CC-BY-4.0", "somebody"
    table.loc[n - 1, "photo_id"] = None
    return table


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[NamedShard]:
    """Write two shards whose photos show six species; the first ``WRONG`` have another name, two no features."""
    folder = tmp_path_factory.mktemp("shards")
    centres = np.random.default_rng(3).normal(size=(len(SPECIES), 12)) * 3.0
    made = []
    for number in range(2):
        rng = np.random.default_rng(10 + number)
        shown = rng.integers(0, len(SPECIES), N)
        stated = shown.copy()
        stated[:WRONG] = (shown[:WRONG] + 3) % len(SPECIES)
        rows = shard_rows(np.array(SPECIES)[stated], number * N)
        features = (centres[shown] + rng.normal(size=(N, 12))).astype(np.float16).astype(np.float32)
        features[N - 3 : N - 1] = np.nan
        status = ["ok"] * N
        status[N - 3 : N - 1] = ["missing", "blank"]
        places = [folder / f"{number}-{part}" for part in ("shard", "features")]
        for place in places:
            place.mkdir()
        write_table(rows, places[0] / "observations.parquet", SHARD_ROW)
        ids = [f"p{number * N + k}" for k in range(N)]
        hashes = hashes_of_bytes([bytes([k % 256] * 32) if ok == "ok" else None for k, ok in enumerate(status)])
        write_features(
            PhotoFeatures(tuple(ids), hashes, features, tuple(status), ENCODER), places[1] / "features.parquet"
        )
        made.append(NamedShard(places[0], places[0], places[1]))
    return made


@pytest.fixture(scope="module")
def model(shards: list[NamedShard], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("model")
    told = train_names_on_shards(
        folder, shards=shards, votes=None, how=how(), photos_per_species=70, encoder_identity=ENCODER
    )
    return folder, told


def gated(shard: NamedShard, model: Path, folder: Path, votes: Path | None = None, **gate: object) -> dict:
    folder.mkdir(exist_ok=True)
    if votes is not None:
        (folder / "cut").mkdir()
        cut_votes(folder / "cut", live=shard.live, votes=votes)
    told = gate_shard(
        folder,
        live=shard.live,
        features=shard.features,
        model=model,
        gate=GATE | gate,
        encoder_identity=ENCODER,
        votes=None if votes is None else folder / "cut",
    )
    accept_shard(folder, live=shard.live, decisions=folder, model=model)
    return told


def test_a_shard_gets_its_own_votes(shards: list[NamedShard], tmp_path: Path) -> None:
    ids = read_table(shards[0].live / "observations.parquet", SHARD_ROW)["observation_id"]
    rows = [(ids[3], "Rosa alba", True, 4.0, 0.9, 3, None), ("somewhere else", "Rosa alba", True, 4.0, 0.9, 3, None)]
    for name in ("votes", "cut"):
        (tmp_path / name).mkdir()
    write_table(pd.DataFrame(rows, columns=VOTED_NAME.names), tmp_path / "votes" / "votes.parquet", VOTED_NAME)
    told = cut_votes(tmp_path / "cut", live=shards[0].live, votes=tmp_path / "votes")
    assert told == {"out": {"observations with votes": 1}}
    assert read_table(tmp_path / "cut" / "votes.parquet", VOTED_NAME)["observation_id"].tolist() == [ids[3]]


def test_photos_that_names_are_learned_from_are_counted(model: tuple[Path, dict]) -> None:
    _, told = model
    assert told["in"]["photos"] == 2 * (N - 1)
    lost = told["lost"]
    assert told["out"]["photos that names are learned from"] + sum(lost.values()) == told["in"]["photos"]
    assert lost["photo beyond the most of a species"] > 50
    assert (
        420 >= told["out"]["photos that names are learned from"] > 380
    )  # 70 of each of six species, some without features
    assert told["encoder_identity"] == ENCODER


def test_wrong_names_leave_the_live_rows_and_right_ones_stay(
    shards: list[NamedShard], model: tuple[Path, dict], tmp_path: Path
) -> None:
    told = gated(shards[0], model[0], tmp_path / "g")
    decisions = read_table(tmp_path / "g" / "decisions.parquet", NAME_DECISION)
    rows = read_table(shards[0].live / "observations.parquet", SHARD_ROW)
    assert decisions["observation_id"].tolist() == rows["observation_id"].tolist()
    wrong = np.arange(N) < WRONG
    at_species = (decisions["rank"] == "species").to_numpy()
    assert at_species[wrong].mean() < 0.5  # names among the held-out ones that are wrong cost power
    assert at_species[~wrong].mean() > 0.9
    assert decisions["reason"].tolist()[-3:] == ["no_evidence"] * 3  # two without features, one without a photo
    assert sum(told["out"].values()) + sum(told["lost"].values()) == told["in"]["observations"] == N
    named = read_table(tmp_path / "g" / "observations.parquet", SHARD_ROW)
    assert named["observation_id"].tolist() == decisions["observation_id"][decisions["rank"] != "none"].tolist()
    kept = named.merge(rows, on="observation_id", suffixes=("", "_before"))
    same = kept["species"] == kept["species_before"]
    at_genus = decisions["observation_id"][decisions["rank"] == "genus"]
    assert set(kept["observation_id"][~same & kept["genus"].notna()]) == set(at_genus)
    assert (kept["photo_url"] == kept["photo_url_before"]).all()


def test_votes_confirm_and_rename(shards: list[NamedShard], model: tuple[Path, dict], tmp_path: Path) -> None:
    rows = read_table(shards[0].live / "observations.parquet", SHARD_ROW)
    plain = tmp_path / "plain"
    gated(shards[0], model[0], plain)
    before = read_table(plain / "decisions.parquet", NAME_DECISION)
    doubted = before[(before["p_species"] < 0.05) & (before["p_species"] > 0.005)].iloc[0]
    caught = before[(before["p_species"] <= 0.05) & before["suggested"].notna()].iloc[-1]
    votes = pd.DataFrame(
        [
            (doubted["observation_id"], doubted["stated"], True, 5.0, 1.0, 3, None),
            (caught["observation_id"], caught["suggested"], True, 4.0, 0.9, 3, None),
            ("somewhere else", "Rosa alba", True, 4.0, 0.9, 3, None),
        ],
        columns=VOTED_NAME.names,
    ).drop_duplicates("observation_id", keep="last")
    (tmp_path / "votes").mkdir()
    write_table(votes, tmp_path / "votes" / "votes.parquet", VOTED_NAME)
    gated(shards[0], model[0], tmp_path / "g", tmp_path / "votes")
    after = read_table(tmp_path / "g" / "decisions.parquet", NAME_DECISION).set_index("observation_id")
    renamed = after.loc[caught["observation_id"]]
    assert (renamed["rank"], renamed["name"]) == ("species", caught["suggested"])
    assert renamed["reason"] in ("votes", "votes_and_photo")
    if doubted["observation_id"] != caught["observation_id"]:
        assert tuple(after.loc[doubted["observation_id"], ["rank", "reason"]]) == ("species", "votes")
    named = read_table(tmp_path / "g" / "observations.parquet", SHARD_ROW).set_index("observation_id")
    (tmp_path / "gathered").mkdir()
    gather_decisions(tmp_path / "gathered", live={"s": shards[0].live}, decided={"s": tmp_path / "g"}, told={})
    counts = pd.read_csv(tmp_path / "gathered" / "names.csv").set_index(["rank", "reason"])
    # The one that is renamed, and no genus or growth form that stands in the place of a species.
    assert counts["renamed"].to_dict() == {why: int(why == ("species", renamed["reason"])) for why in counts.index}
    taxa = named.loc[caught["observation_id"]]
    assert taxa["genus"] == caught["suggested"].split(" ")[0]
    assert taxa["growth_form"] == FORMS[taxa["genus"]]
    others = ~before["observation_id"].isin(votes["observation_id"]).to_numpy()
    pd.testing.assert_frame_equal(after.reset_index()[others][before.columns], before[others])
    gated(shards[0], model[0], tmp_path / "strict", tmp_path / "votes", accept_voted=False)
    strict = read_table(tmp_path / "strict" / "decisions.parquet", NAME_DECISION).set_index("observation_id")
    assert strict.loc[caught["observation_id"], "reason"] == "contradicted_by_votes"
    assert len(rows) == len(strict)


def test_what_was_set_aside_can_be_looked_at(
    shards: list[NamedShard], model: tuple[Path, dict], tmp_path: Path
) -> None:
    folders = {}
    for number, shard in enumerate(shards):
        folders[f"s{number}"] = tmp_path / f"g{number}"
        gated(shard, model[0], folders[f"s{number}"])
    out = tmp_path / "out"
    out.mkdir()
    live = {f"s{number}": shard.live for number, shard in enumerate(shards)}
    told = gather_decisions(out, live=live, decided=folders, told={"model": "a model", "gate": GATE})
    decisions = read_table(out / "decisions.parquet", NAME_DECISION)
    aside = pd.read_csv(out / "set_aside.csv")
    assert len(decisions) == 2 * N == told["in"]["observations"]
    assert set(aside["observation_id"]) == set(decisions["observation_id"][decisions["rank"] == "none"])
    assert len(aside) == sum(told["set aside"].values()) > 10
    assert aside["photo_url"].str.startswith("https://photos.example/").all()
    assert {"stated", "suggested", "reason", "p_species", "licence", "attribution"} <= set(aside.columns)
    counts = json.loads((out / "names.json").read_text())
    assert sum(row["n"] for row in counts["counts"]) == 2 * N == counts["observations"]
    assert counts["model"] == "a model"
    table = pd.read_csv(out / "names.csv").set_index(["rank", "reason"])
    assert table["n"].sum() == 2 * N
    assert table["n"].to_dict() == decisions.value_counts(["rank", "reason"]).to_dict()
    assert table["photos"].sum() == table["n"].sum() - 2  # the last observation of either shard has no photo
    assert table["renamed"].sum() == 0  # nobody voted


def test_a_model_of_another_encoder_is_refused(
    shards: list[NamedShard], model: tuple[Path, dict], tmp_path: Path
) -> None:
    shard = shards[0]
    with pytest.raises(ModelError, match="--names-gate off"):
        gate_shard(
            tmp_path,
            live=shard.live,
            features=shard.features,
            model=model[0],
            gate=GATE,
            encoder_identity="another",
        )


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'alfa'"):
        GateSettings.read({"alfa": 0.1})
    with pytest.raises(ModelError, match="'accept_voted'"):
        GateSettings.read({"accept_voted": "yes"})
    assert GateSettings.read({"alpha": 0.1, "unknown": "species"}) == GateSettings(alpha=0.1, unknown="species")
    with pytest.raises(InputError, match="found none of 0"):
        train_names_on_shards(
            tmp_path, shards=[], votes=None, how=how(), photos_per_species=70, encoder_identity=ENCODER
        )
    with pytest.raises(InputError, match="expected a layout of plantnet300k, inaturalist2019"):
        train_names_on_images(
            tmp_path,
            images=tmp_path,
            layout="flickr",  # type: ignore[arg-type]
            encoder="efficientnet-lite0",
            location=None,
            growth_forms=None,
            how=how(),
            photos_per_species=70,
            device="cpu",
        )


def test_text_of_strangers_is_no_formula() -> None:
    table = pd.DataFrame({"attribution": ['=HYPERLINK("http://x","y")', "+1", "Ann", None, "@b"], "p": [-1.0] * 5})
    told = as_text(table)
    assert told["attribution"].tolist()[:3] == ['\'=HYPERLINK("http://x","y")', "'+1", "Ann"]
    assert told["attribution"][4] == "'@b"
    assert pd.isna(told["attribution"][3])
    assert told["p"].tolist() == [-1.0] * 5
