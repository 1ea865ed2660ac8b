"""Training from pixels: it learns, repeats itself, goes on where it was stopped; networks survive a file; bad input."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.backbone import TrainedBackbone, load_backbone, save_backbone, train_backbone
from plant_traits.taxa.taxonet.epochs import NameFitting
from plant_traits.taxa.taxonet.name_network import BackboneFitting, make_network
from plant_traits.taxa.taxonet.recall import evaluate_names
from plant_traits.taxa.taxonet.selection import TailSampling

SPECIES = ("Crocus rubens", "Crocus viridis", "Crocus azureus")
COUNTS = (24, 12, 4)
HOW = NameFitting(
    loss_settings={"scale": 16.0},
    hidden=0,
    embedding=8,
    dropout=0.0,
    epochs=6,
    patience=6,
    learning_rate=1e-2,
    sampling=TailSampling(batch=8, extra=4, probability=0.5),
)
QUICK = BackboneFitting("small", side=32, how=HOW)


def photo(kind: int, rng: np.random.Generator) -> bytes:
    """Return a noisy photo of a colour, upright or wide."""
    pixels = rng.integers(0, 90, ((40, 48, 3), (48, 40, 3))[int(rng.integers(2))], dtype=np.uint8)
    pixels[..., kind] += 140
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photos(counts: tuple[int, ...], seed: int) -> tuple[list[bytes], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    return [photo(int(k), rng) for k in labels], labels


def trained(settings: BackboneFitting = QUICK, resume: Path | None = None, stop_after: int = 99) -> TrainedBackbone:
    def interrupt(done: int, _planned: int, _row: object) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    return train_backbone(
        *photos(COUNTS, 0), SPECIES, photos((4, 4, 4), 1), settings, resume=resume, progress=interrupt
    )


def test_it_learns_what_pixels_tell() -> None:
    images, labels = photos((6, 6, 6), 2)
    model = trained()
    found = evaluate_names(model.cosines(images).argmax(axis=1), labels, np.array(COUNTS))
    assert found.macro > 0.9
    np.testing.assert_allclose(model.posteriors(model.cosines(images)).sum(axis=1), 1, rtol=1e-12)
    assert model.course["loss"].iloc[-1] < model.course["loss"].iloc[0]


def test_the_same_seed_gives_the_same_network_and_leaves_the_generator_alone() -> None:
    images, _ = photos((1, 1, 1), 3)
    short = replace(QUICK, how=replace(HOW, epochs=2))
    before = torch.get_rng_state()
    one = trained(short)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(one.cosines(images), trained(short).cosines(images))
    other = trained(replace(short, how=replace(short.how, seed=1)))
    assert not np.array_equal(one.cosines(images), other.cosines(images))


def test_an_interrupted_training_goes_on_to_the_same_network(tmp_path: Path) -> None:
    images, _ = photos((2, 2, 2), 3)
    with pytest.raises(KeyboardInterrupt):
        trained(resume=tmp_path, stop_after=3)
    again = trained(resume=tmp_path)
    whole = trained()
    assert again.course.equals(whole.course) and len(whole.course) == 6
    assert again.best_epoch == whole.best_epoch
    assert np.array_equal(again.cosines(images), whole.cosines(images))


def test_only_the_last_blocks_of_an_encoder_learn() -> None:
    settings = BackboneFitting("efficientnet-lite0", side=32, blocks=1, how=replace(HOW, epochs=1))
    images, labels = photos((3, 2, 2), 0)
    torch.manual_seed(0)
    before = {name: x.clone() for name, x in make_network(settings, 3).state_dict().items()}
    after = train_backbone(images, labels, SPECIES, photos((1, 1, 1), 1), settings).network.state_dict()
    changed = {name for name, x in after.items() if name.startswith("backbone.") and not torch.equal(x, before[name])}
    last = ("backbone._blocks.15.", "backbone._conv_head.", "backbone._bn1.")
    assert changed and all(name.startswith(last) for name in changed)
    assert not any("running" in name for name in changed)
    frozen = replace(settings, blocks=0)
    still = train_backbone(images, labels, SPECIES, photos((1, 1, 1), 1), frozen).network.state_dict()
    assert all(torch.equal(x, before[name]) for name, x in still.items() if name.startswith("backbone."))


def test_networks_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    model = trained(replace(QUICK, how=replace(HOW, epochs=1)))
    save_backbone(model, path)
    read = load_backbone(path)
    images, _ = photos((1, 1, 1), 3)
    assert np.array_equal(read.cosines(images), model.cosines(images))
    assert (read.species, read.threshold, read.scale) == (SPECIES, model.threshold, 16.0)
    assert np.array_equal(read.counts, COUNTS) and np.array_equal(read.shift, model.shift)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="train it again"):
        load_backbone(path)


def test_bad_input_is_refused() -> None:
    images, labels = photos(COUNTS, 0)
    validation = photos((1, 1, 1), 1)
    with pytest.raises(ModelError, match="found 'tpu'"):
        train_backbone(images, labels, SPECIES, validation, QUICK, device="tpu")
    with pytest.raises(ModelError, match="a label for each photo"):
        train_backbone(images[:-1], labels, SPECIES, validation, QUICK)
    with pytest.raises(ModelError, match="photo 1 cannot be read"):
        train_backbone([images[0], b"no photo", *images[2:]], labels, SPECIES, validation, QUICK)
    with pytest.raises(ModelError, match="1 classes without"):
        train_backbone(images, labels, (*SPECIES, "Novum sine"), validation, QUICK)
    with pytest.raises(ModelError, match="found none"):
        train_backbone(images, labels, SPECIES, ([], []), QUICK)
    with pytest.raises(ModelError, match="multiple of 16"):
        BackboneFitting("small", side=40)
    with pytest.raises(ModelError, match="multiple of 14"):
        BackboneFitting("dinov2-small", side=224 + 16)
