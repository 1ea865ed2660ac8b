"""One hash of the state of some photos of a reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

ABSENT = "absent"


def photos_identity(photo_ids: Sequence[str], states: Mapping[str, str]) -> str:
    """Return a hash of the states of exactly these photos, whatever their order; a photo without a state is absent."""
    digest = hashlib.sha256()
    for photo_id in sorted(set(photo_ids)):
        digest.update(f"{photo_id}\0{states.get(photo_id, ABSENT)}\n".encode())
    return digest.hexdigest()[:32]
