"""Features of photos that earlier outputs hold, found by the photos' content."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import numpy as np

from plant_traits.code_version import code_version
from plant_traits.errors import ModelError, WorkspaceError
from plant_traits.model import features as photo_features
from plant_traits.model.features import FEATURES, PhotoFeatures, read_features
from plant_traits.model.photo_hashes import PhotoHashes, known, positions
from plant_traits.steps import Artifact, StepStore, Summary

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierFeatures:
    """Outputs of earlier runs that hold photos of one shard.

    Attributes:
        store: where they lie.
        artifacts: the outputs, made by one encoder.
    """

    store: StepStore
    artifacts: tuple[Artifact, ...]

    def results(self, wanted: PhotoHashes, encoder_identity: str) -> list[PhotoFeatures]:
        """Return what is known of photos, each photo in one part; one output is in memory at a time beside that.

        An output that has gone, or whose bytes are not those of its manifest, is passed over with a warning: its
        photos are encoded again.

        Args:
            wanted: hashes of the photos.
            encoder_identity: the encoder that made the features.
        """
        parts: list[PhotoFeatures] = []
        open_ones = np.unique(wanted[known(wanted)])
        for artifact in self.artifacts:
            if not len(open_ones):
                break
            try:
                part = self._read(artifact, open_ones, encoder_identity)
            except (ModelError, WorkspaceError, OSError) as error:
                logger.warning("earlier features %s are not used: %s", artifact.key, error)
                continue
            if len(part.photo_id):
                parts.append(part)
                open_ones = open_ones[positions(open_ones, part.photo_sha256) < 0]
        return parts

    def _read(self, artifact: Artifact, wanted: PhotoHashes, encoder_identity: str) -> PhotoFeatures:
        path = self.store.fetch(artifact) / FEATURES
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != artifact.files[FEATURES].sha256:
            raise ModelError(f"photo features {path}: expected the sha256 of their manifest, found {found}")
        return read_features(path, encoder_identity, among=wanted)


def encoder_facts(encoder_identity: str) -> Summary:
    """Return what the summary of features says of how they were made, by which earlier ones are recognised."""
    return {"encoder": encoder_identity, "encoder code": code_version(photo_features.__name__)}
