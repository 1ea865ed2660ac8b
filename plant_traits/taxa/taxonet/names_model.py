"""A model of names: features of a photo to cosines with species, their posteriors, and how familiar the photo looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from plant_traits.errors import ModelError
from plant_traits.model.blocks import by_blocks
from plant_traits.taxa.taxonet.feature_space import FeatureSpace, space_of_tensors, space_tensors
from plant_traits.taxa.taxonet.name_head import HeadShape, NameHead
from plant_traits.taxa.taxonet.named_tensors import UNREADABLE, read_named_tensors, under, write_named_tensors
from plant_traits.taxa.taxonet.open_set import familiarity

FORMAT = "plant-traits-names-2"
TAXA = ("species", "genus", "family", "growth_form")


@dataclass(frozen=True)
class Assessment:
    """What a model of names makes of n photos.

    Attributes:
        probabilities: (n, k) of the species under the training frequencies, rows sum to 1.
        open_set: (n,) the larger, the more a photo looks like one of the known species.
        plant: (n,) the larger, the more a photo looks like photos of plants.
        known: (n,) whether the open-set score reaches its threshold.
        is_plant: (n,) whether the plant score reaches its threshold.
    """

    probabilities: npt.NDArray[np.float64]
    open_set: npt.NDArray[np.float64]
    plant: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    is_plant: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class NamesModel:
    """A trained head and what is needed to use it.

    Attributes:
        species: the k classes, in the order of every array.
        counts: (k,) training photos of each.
        head: the network, in evaluation mode on the CPU.
        shift: (k,) what the loss took from the cosines of each class; posteriors under the training frequencies do so.
        scale: s, of the cosines in posteriors.
        threshold: open-set score below which a photo is of no known species.
        encoder_identity: of the encoder whose features it reads.
        space: where the training photos lie among features: open-set and plant scores are taken from it. Without it the
            open-set score is the largest cosine, and every photo is taken to show a plant.
        plant_threshold: plant score below which a photo shows no plant.
        genera, families, growth_forms: (k,) of the species, None where not known; or empty, where none is.
    """

    species: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    head: NameHead
    shift: npt.NDArray[np.float64]
    scale: float
    threshold: float
    encoder_identity: str
    space: FeatureSpace | None = field(default=None, repr=False)
    plant_threshold: float = -np.inf
    genera: tuple[str | None, ...] = ()
    families: tuple[str | None, ...] = ()
    growth_forms: tuple[str | None, ...] = ()

    @property
    def taxa(self) -> pd.DataFrame:
        """One row per species, in their order, with the columns ``TAXA``; null where a taxon is not known."""
        none = (None,) * len(self.species)
        columns = (self.species, self.genera or none, self.families or none, self.growth_forms or none)
        return pd.DataFrame(dict(zip(TAXA, columns, strict=True)), dtype=object)

    def assess(self, features: npt.NDArray[np.floating]) -> Assessment:
        """Return the probabilities of names, whether the photos are of known species, and whether they show a plant.

        Args:
            features: (n, d).

        Raises:
            ModelError: the features are not of the expected length, or not finite.
        """
        likeness = self.cosines(features)
        if self.space is None:
            open_set, plant = familiarity(likeness), np.zeros(len(features))
        else:
            open_set, plant = self.space.open_set_scores(features), self.space.plant_scores(features)
        known, is_plant = open_set >= self.threshold, plant >= self.plant_threshold
        return Assessment(self.posteriors(likeness), open_set, plant, known, is_plant)

    def probabilities(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return the probability of each species under the training frequencies, (n, k), from features (n, d)."""
        return self.posteriors(self.cosines(features))

    def embeddings(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the embeddings of photos, (n, e), from their features, (n, d)."""
        return self._apply(features, self.head.embed, self.head.shape.embedding)

    def cosines(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the cosine of each photo with each species, (n, k): the largest names it, and is its familiarity."""
        return self._apply(features, self.head, len(self.species))

    def posteriors(self, cosines: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return the probability of each species under the training frequencies, (n, k), rows sum to 1."""
        logits = self.scale * (np.asarray(cosines, dtype=np.float64) - self.shift)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)

    def _apply(
        self, features: npt.NDArray[np.floating], part: Callable[[Tensor], Tensor], width: int
    ) -> npt.NDArray[np.float32]:
        expected = self.head.shape.features
        if features.ndim != 2 or features.shape[1] != expected or not np.isfinite(features).all():
            raise ModelError(
                f"names model: expected finite features of length {expected}, found an array of shape {features.shape} "
                f"with {int((~np.isfinite(features)).sum())} numbers that are not finite; encode the photos with the "
                "encoder the model was trained on and leave out those without features"
            )

        def applied(block: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(part(torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))).numpy())

        return by_blocks(applied, features, np.empty((len(features), width), dtype=np.float32))


def save_names_model(model: NamesModel, path: Path) -> None:
    """Write a model as one safetensors file; what is no tensor stands in its header as JSON."""
    described = {
        "species": list(model.species),
        "scale": model.scale,
        "threshold": model.threshold,
        "encoder_identity": model.encoder_identity,
        "plant_threshold": model.plant_threshold if np.isfinite(model.plant_threshold) else None,
        "genera": model.genera,
        "families": model.families,
        "growth_forms": model.growth_forms,
        "shape": asdict(model.head.shape),
    }
    tensors = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    tensors |= {"counts": torch.from_numpy(model.counts), "shift": torch.from_numpy(model.shift)}
    if model.space is not None:
        tensors |= {f"space.{name}": tensor for name, tensor in space_tensors(model.space).items()}
    write_named_tensors(path, FORMAT, described, tensors)


def load_names_model(path: Path) -> NamesModel:
    """Read a model of ``save_names_model``.

    Raises:
        ModelError: the file is not there, or is no such model.
    """
    try:
        described, tensors = read_named_tensors(path, FORMAT)
        head = NameHead(HeadShape(**described["shape"]))
        head.load_state_dict(under("head.", tensors))
        species = tuple(described["species"])
        counts, shift = tensors["counts"].numpy(), tensors["shift"].numpy()
        if not len(species) == len(counts) == len(shift) == head.shape.classes:
            raise ValueError(f"{len(species)} species for {head.shape.classes} classes")
        scale, threshold = float(described["scale"]), float(described["threshold"])
        identity = str(described["encoder_identity"])
        taxa = [tuple(described[name]) for name in ("genera", "families", "growth_forms")]
        if any(len(of) not in (0, len(species)) for of in taxa):
            raise ValueError(f"{[len(of) for of in taxa]} taxa for {len(species)} species")
        of_space = under("space.", tensors)
        space = space_of_tensors(of_space) if of_space else None
        least = described["plant_threshold"]
        plant_threshold = -np.inf if least is None else float(least)
    except UNREADABLE as error:
        raise ModelError(
            f"names model {path}: expected a file of save_names_model in the format {FORMAT}: {error}; train it again"
        ) from error
    return NamesModel(species, counts, head.eval(), shift, scale, threshold, identity, space, plant_threshold, *taxa)
