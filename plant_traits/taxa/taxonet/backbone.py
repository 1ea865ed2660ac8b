"""Train a network from the pixels of photos to the names of species, end to end, with the losses of the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from plant_traits.errors import ModelError
from plant_traits.model.preprocessing import Preprocessing
from plant_traits.model.resume import fingerprint
from plant_traits.taxa.taxonet.augmentation import augment, crop_and_flip
from plant_traits.taxa.taxonet.epochs import (
    NameFitting,
    Progress,
    checked_classes,
    checked_device,
    macro_recall,
    run_epochs,
)
from plant_traits.taxa.taxonet.name_network import (
    BackboneFitting,
    NameNetwork,
    make_network,
    preprocessing_of,
    squares,
)
from plant_traits.taxa.taxonet.named_tensors import UNREADABLE, read_named_tensors, under, write_named_tensors
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold
from plant_traits.taxa.taxonet.priors import IntArray

FORMAT = "plant-traits-name-network-1"
_BATCH = 32


@dataclass(frozen=True)
class TrainedBackbone:
    """A network that names species from photos.

    Attributes:
        species: the k classes.
        counts: (k,) training photos of each.
        network: in evaluation mode on the CPU.
        settings: it was trained with.
        shift: (k,) what the loss took from the cosines of each class.
        scale: s.
        threshold: largest cosine below which a photo is of no known species.
        course: one row per epoch; empty for a network read from a file.
        best_epoch: from 1.
    """

    species: tuple[str, ...]
    counts: IntArray
    network: NameNetwork
    settings: BackboneFitting
    shift: npt.NDArray[np.float64]
    scale: float
    threshold: float
    course: pd.DataFrame
    best_epoch: int

    def cosines(self, images: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return the cosine of each photo with each species, (n, k), from the bytes of the photos.

        Raises:
            ModelError: a photo cannot be read.
        """
        prepare = preprocessing_of(self.settings)
        parts = [
            _cosines(self.network, squares(images[x : x + _BATCH], self.settings.side, x), prepare, "cpu")
            for x in range(0, len(images), _BATCH)
        ]
        return np.concatenate([np.empty((0, len(self.species)), dtype=np.float32), *parts])

    def posteriors(self, cosines: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return the probability of each species under the training frequencies, (n, k)."""
        logits = self.scale * (np.asarray(cosines, dtype=np.float64) - self.shift)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)


def train_backbone(
    images: Sequence[bytes],
    labels: npt.ArrayLike,
    species: Sequence[str],
    validation: tuple[Sequence[bytes], npt.ArrayLike],
    settings: BackboneFitting | None = None,
    *,
    device: str = "cpu",
    resume: Path | None = None,
    progress: Progress | None = None,
) -> TrainedBackbone:
    """Train end to end; stop on the macro recall of the validation photos.

    The photos are kept in memory at the size that the network reads, 150 kB each at a side of 224. The same arguments
    give the same network on one machine, on the CPU to the bit; torch's generator is left as it was.

    Args:
        images: bytes of the n training photos.
        labels: (n,) classes.
        species: the k names; each needs a training photo.
        validation: bytes and classes of photos to stop on.
        settings: what is trained, and how.
        device: ``cpu`` or ``cuda``.
        resume: folder of the training's state; a training that was killed goes on from there.
        progress: see ``Progress``.

    Raises:
        ModelError: the arrays do not fit together, a photo cannot be read, a class has no photo, or the device is
            not there.
    """
    settings = settings or BackboneFitting()
    which = np.asarray(labels)
    if len(images) != which.size or len(validation[0]) != np.asarray(validation[1]).size:
        raise ModelError(
            f"training a backbone: expected a label for each photo, found {len(images)} photos with {which.size} "
            f"labels and {len(validation[0])} validation photos with {np.asarray(validation[1]).size}"
        )
    counts, truth = checked_classes(which, validation[1], len(species))
    how = settings.how
    photos, stop = squares(images, settings.side), squares(validation[0], settings.side)
    prepare = preprocessing_of(settings)
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        network = make_network(settings, len(species)).to(checked_device(device))

        def fetch(rows: IntArray, extra: npt.NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
            pixels = []
            for row, more in zip(rows, extra, strict=True):
                image = crop_and_flip(Image.fromarray(photos[row]), rng)
                pixels.append(prepare.apply(augment(image, rng, severity=settings.severity) if more else image))
            return torch.from_numpy(np.stack(pixels))

        _standardise(network, photos, prepare, device)
        key = fingerprint(asdict(settings), photos, which, stop, truth, list(species), device, torch.__version__)
        course = run_epochs(
            network,
            fetch,
            which.astype(np.int64),
            counts,
            lambda: macro_recall(_cosines(network, stop, prepare, device), truth, counts),
            how,
            fingerprint=key,
            resume=resume,
            progress=progress,
        )
        threshold = known_threshold(familiarity(_cosines(network, stop, prepare, device)))
    network.to("cpu").eval()
    return TrainedBackbone(
        tuple(species),
        counts,
        network,
        settings,
        course.shift,
        course.scale,
        threshold,
        course.table,
        course.best_epoch,
    )


def save_backbone(trained: TrainedBackbone, path: Path) -> None:
    """Write a network as one safetensors file; what is no tensor stands in its header as JSON."""
    described = {
        "species": trained.species,
        "scale": trained.scale,
        "threshold": trained.threshold,
        "best_epoch": trained.best_epoch,
        "backbone": trained.settings.backbone,
        "side": trained.settings.side,
        "blocks": trained.settings.blocks,
        "hidden": trained.settings.how.hidden,
        "embedding": trained.settings.how.embedding,
    }
    tensors = {f"network.{name}": x for name, x in trained.network.state_dict().items()}
    tensors |= {"counts": torch.from_numpy(trained.counts), "shift": torch.from_numpy(trained.shift)}
    write_named_tensors(path, FORMAT, described, tensors)


def load_backbone(path: Path) -> TrainedBackbone:
    """Read a network of ``save_backbone``.

    Raises:
        ModelError: the file is not there, or is no such network.
    """
    try:
        told, tensors = read_named_tensors(path, FORMAT)
        how = NameFitting(hidden=told["hidden"], embedding=told["embedding"])
        settings = BackboneFitting(told["backbone"], told["side"], told["blocks"], how)
        species = tuple(told["species"])
        with torch.random.fork_rng(devices=[]):
            network = make_network(settings, len(species))
        network.load_state_dict(under("network.", tensors))
        counts, shift = tensors["counts"].numpy(), tensors["shift"].numpy()
        scale, threshold, best = float(told["scale"]), float(told["threshold"]), int(told["best_epoch"])
    except (*UNREADABLE, ModelError) as error:
        raise ModelError(
            f"network of names {path}: expected a file of save_backbone in the format {FORMAT}: {error}; train it again"
        ) from error
    return TrainedBackbone(species, counts, network.eval(), settings, shift, scale, threshold, pd.DataFrame(), best)


def _batches(photos: npt.NDArray[np.uint8], prepare: Preprocessing, device: str) -> Iterator[Tensor]:
    for start in range(0, len(photos), _BATCH):
        some = [prepare.apply(Image.fromarray(x)) for x in photos[start : start + _BATCH]]
        yield torch.from_numpy(np.stack(some)).to(device)


def _cosines(
    network: NameNetwork, photos: npt.NDArray[np.uint8], prepare: Preprocessing, device: str
) -> npt.NDArray[np.float32]:
    """Return the cosines of square photos with the species, (n, k)."""
    with torch.inference_mode():
        parts = [network.compare(network.embed(x)).cpu().numpy() for x in _batches(photos, prepare, device)]
    return np.concatenate(parts)


def _standardise(network: NameNetwork, photos: npt.NDArray[np.uint8], prepare: Preprocessing, device: str) -> None:
    """Take the head's mean and deviation from the features of at most 512 training photos before training."""
    some = photos[np.linspace(0, len(photos) - 1, min(512, len(photos))).astype(int)]
    network.eval()
    with torch.no_grad():
        network.head.standardise(torch.cat([network.backbone(x) for x in _batches(some, prepare, device)]))
