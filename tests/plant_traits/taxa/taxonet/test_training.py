"""Training of a head: it learns, repeats itself, stops on macro recall; models survive a file; bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.feature_space import fit_feature_space
from plant_traits.taxa.taxonet.name_head import head_of_space
from plant_traits.taxa.taxonet.named_tensors import read_named_tensors, write_named_tensors
from plant_traits.taxa.taxonet.names_model import FORMAT, load_names_model, save_names_model
from plant_traits.taxa.taxonet.open_set import familiarity
from plant_traits.taxa.taxonet.recall import evaluate_names
from plant_traits.taxa.taxonet.selection import TailSampling
from plant_traits.taxa.taxonet.training import Copies, NameFitting, TrainedNames, train_names

COUNTS = np.array([120, 60, 30, 15, 8, 4])
SPECIES = tuple(f"Genus{k} epithet" for k in range(len(COUNTS)))
QUICK = NameFitting(hidden=0, embedding=16, epochs=8, dropout=0.0, sampling=TailSampling(batch=32), learning_rate=5e-3)


def photos(counts: np.ndarray, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    centres = 3 + np.random.default_rng(99).normal(size=(len(counts), 20))
    labels = np.repeat(np.arange(len(counts)), counts)
    return centres[labels] + noise * np.random.default_rng(seed).normal(size=(len(labels), 20)), labels


def fitted(**change: object) -> TrainedNames:
    features, labels = photos(COUNTS, 0)
    return train_names(
        features, labels, SPECIES, photos(np.full(6, 10), 1), replace(QUICK, **change), encoder_identity="e"
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "am_softmax", "ldam", "logit_adjustment", "class_balanced", "dual_margin"]
)
def test_every_loss_learns_what_can_be_told_apart(loss: str) -> None:
    model = fitted(loss=loss, epochs=20, patience=20).model
    features, labels = photos(np.full(6, 50), 2)
    assert evaluate_names(model.cosines(features).argmax(axis=1), labels, COUNTS).macro > 0.9
    posteriors = model.posteriors(model.cosines(features))
    np.testing.assert_allclose(posteriors.sum(axis=1), 1, rtol=1e-12)


def test_the_same_seed_gives_the_same_model_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.rand(3)
    torch.manual_seed(7)
    one = fitted()
    assert torch.equal(torch.rand(3), before)
    other, third = fitted(), fitted(seed=1)
    features, _ = photos(COUNTS, 3)
    assert np.array_equal(one.model.cosines(features), other.model.cosines(features))
    assert not np.array_equal(one.model.cosines(features), third.model.cosines(features))
    assert one.course.equals(other.course)


def test_training_has_one_thread_whatever_the_process_had_and_gives_its_own_back() -> None:
    features, labels = photos(COUNTS, 0)
    before, found = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        train_names(
            features, labels, SPECIES, photos(np.full(6, 10), 1), QUICK,
            progress=lambda done, planned, told: found.append(torch.get_num_threads()),
        )  # fmt: skip
        assert set(found) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_model_is_that_of_the_best_epoch() -> None:
    trained = fitted(epochs=12, patience=3, learning_rate=2e-3)
    best = trained.course["macro_recall"].idxmax()
    assert trained.best_epoch == trained.course["epoch"][best]
    assert len(trained.course) <= trained.best_epoch + 3
    features, labels = photos(np.full(6, 10), 1)
    cosines = trained.model.cosines(features)
    assert evaluate_names(cosines.argmax(axis=1), labels, COUNTS).macro == trained.course["macro_recall"][best]
    assert (familiarity(cosines) >= trained.model.threshold).mean() >= 0.95


def test_the_power_scaling_is_learned_and_stays_in_range() -> None:
    zeta = fitted().course["zeta"]
    assert zeta.nunique() > 1 and (zeta >= 1).all()
    assert fitted(loss="ldam").course["zeta"].isna().all()


def test_copies_stand_for_their_photos() -> None:
    features, labels = photos(COUNTS, 0)
    validation, every = photos(np.full(6, 10), 1), np.arange(len(labels))

    def losses(copies: Copies | None, extra: int = 8) -> np.ndarray:
        how = replace(QUICK, sampling=TailSampling(32, extra, 0.5 if extra else 0.0), norm_guided=False)
        return train_names(features, labels, SPECIES, validation, how, copies=copies).course["loss"].to_numpy()

    plain = losses(None)
    assert np.array_equal(plain, losses(Copies(features, every)))  # copies that do not differ change nothing
    far = features + 100.0
    assert not np.array_equal(plain, losses(Copies(far, every)))
    only = Copies(far, every, np.ones(len(every), dtype=bool))
    assert not np.array_equal(plain, losses(only))
    assert np.array_equal(losses(None, 0), losses(only, 0))  # no batch is enlarged, so none of them is used
    common = np.flatnonzero(COUNTS[labels] >= 20)
    beyond = Copies(far[common], common, np.ones(len(common), dtype=bool))
    assert np.array_equal(plain, losses(beyond))  # batches are enlarged with tail photos only


def test_models_survive_a_file(tmp_path: Path) -> None:
    model = fitted(hidden=8).model
    save_names_model(model, tmp_path / "names.safetensors")
    read = load_names_model(tmp_path / "names.safetensors")
    features, _ = photos(COUNTS, 3)
    assert np.array_equal(read.cosines(features), model.cosines(features))
    assert np.array_equal(read.embeddings(features), model.embeddings(features))
    assert np.array_equal(read.shift, model.shift) and np.array_equal(read.counts, COUNTS)
    assert (read.species, read.scale, read.threshold, read.encoder_identity) == (SPECIES, 32.0, model.threshold, "e")


def test_a_head_that_starts_at_a_feature_space_learns_from_there_and_survives_a_file(tmp_path: Path) -> None:
    features, labels = photos(COUNTS, 0)
    space = fit_feature_space(features, labels, 6)
    how = replace(QUICK, loss="logit_adjustment", hidden=32, learning_rate=1e-9, epochs=1)
    still = train_names(features, labels, SPECIES, photos(np.full(6, 10), 1), how, start=space).model
    new, truth = photos(np.full(6, 50), 2)
    start = head_of_space(space).eval()
    with torch.inference_mode():
        expected = start(torch.from_numpy(new.astype(np.float32))).numpy()
    np.testing.assert_allclose(still.cosines(new), expected, atol=1e-5)
    assert still.head.shape.hidden == 0 and still.head.shape.embedding == head_of_space(space).shape.embedding
    trained = train_names(
        features, labels, SPECIES, photos(np.full(6, 10), 1), replace(how, learning_rate=1e-2), start=space
    )
    assert np.abs(trained.model.cosines(new) - expected).max() > 0.01
    assert evaluate_names(trained.model.cosines(new).argmax(axis=1), truth, COUNTS).macro > 0.9
    save_names_model(trained.model, tmp_path / "names.safetensors")
    read = load_names_model(tmp_path / "names.safetensors")
    assert np.array_equal(read.cosines(new), trained.model.cosines(new))


def test_models_kept_before_heads_had_axes_are_read(tmp_path: Path) -> None:
    model = fitted().model
    path = tmp_path / "names.safetensors"
    save_names_model(model, path)
    described, tensors = read_named_tensors(path, FORMAT)
    del described["shape"]["axes"]
    write_named_tensors(path, FORMAT, described, tensors)
    features, _ = photos(COUNTS, 3)
    assert np.array_equal(load_names_model(path).cosines(features), model.cosines(features))


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.safetensors"
    save_names_model(fitted().model, path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b"plant-traits-names-2", b"plant-traits-names-9")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="train it again"):
            load_names_model(path)
    with pytest.raises(ModelError, match="train it again"):
        load_names_model(tmp_path / "absent")


def test_bad_input_is_refused() -> None:
    features, labels = photos(COUNTS, 0)
    validation = photos(np.full(6, 10), 1)
    holed = features.copy()
    holed[3, 2] = np.nan
    with pytest.raises(ModelError, match="found 'tpu'"):
        train_names(features, labels, SPECIES, validation, QUICK, device="tpu")
    with pytest.raises(ModelError, match="training features"):
        train_names(holed, labels, SPECIES, validation, QUICK)
    with pytest.raises(ModelError, match="copies' features"):
        train_names(features, labels, SPECIES, validation, QUICK, copies=Copies(holed, np.arange(len(labels))))
    for wrong in (Copies(features[:2], np.array([0])), Copies(features[:1], np.array([len(labels)]))):
        with pytest.raises(ModelError, match="each of one of 237 photos"):
            train_names(features, labels, SPECIES, validation, QUICK, copies=wrong)
    with pytest.raises(ModelError, match="a label for each"):
        train_names(features, labels[:-1], SPECIES, validation, QUICK)
    with pytest.raises(ModelError, match="same length"):
        train_names(features[:, :5], labels, SPECIES, validation, QUICK)
    with pytest.raises(ModelError, match="1 classes without"):
        train_names(features, labels, (*SPECIES, "Novum sine"), validation, QUICK)
    with pytest.raises(ModelError, match="found none"):
        train_names(features, labels, SPECIES, (features[:0], labels[:0]), QUICK)
    with pytest.raises(ModelError, match="0 to 5"):
        train_names(features, labels, SPECIES, (features, labels + 1), QUICK)
    few, enough = fit_feature_space(features, labels % 5, 5), fit_feature_space(features[:, :7], labels, 6)
    for space in (few, enough):
        with pytest.raises(ModelError, match="fit it to the training photos"):
            train_names(features, labels, SPECIES, validation, QUICK, start=space)
    with pytest.raises(ModelError, match="an epoch or more"):
        train_names(features, labels, SPECIES, validation, replace(QUICK, epochs=0))
    with pytest.raises(ModelError, match="features of length 20"):
        fitted().model.cosines(features[:, :4])
