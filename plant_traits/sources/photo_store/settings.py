"""Settings of the photo plug-in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from plant_traits.sources.photo_store.bounds import PhotoBounds
from plant_traits.sources.plugin_settings import PluginSettings

# No derivatives: a prediction made from a photo might count as one, so ND is not among them.
LICENCES = ("CC0", "PD", "CC-BY", "CC-BY-NC", "CC-BY-SA", "CC-BY-NC-SA")
KNOWN_LICENCES = (*LICENCES, "CC-BY-ND", "CC-BY-NC-ND")


class PhotoSettings(PluginSettings):
    """What photos are wanted, and how long to go on asking for them.

    Attributes:
        size: which rendering of an iNaturalist photo is fetched: medium (500 pixels), large (1024) or original.
        licences: families that are accepted; versions do not matter.
        attempts: runs in which a photo that came broken is asked for.
        retry_failed: ask once more for photos that failed for good.
        minimum_side: pixels of the shorter side.
        maximum_pixels: width times height.
        maximum_bytes: of the file.
        pack_bytes: size at which a pack is full.
        failures_in_a_row: photos of a host that may fail to be served, one after the other, before it is left alone
            for this run.
    """

    size: Literal["medium", "large", "original"] = "medium"
    licences: tuple[str, ...] = LICENCES
    attempts: int = Field(default=3, ge=1)
    retry_failed: bool = False
    minimum_side: int = Field(default=64, ge=1)
    maximum_pixels: int = Field(default=50_000_000, ge=1)
    maximum_bytes: int = Field(default=25 * 1024**2, ge=1, le=25 * 1024**2)
    pack_bytes: int = Field(default=512 * 1024**2, ge=1)
    failures_in_a_row: int = Field(default=32, ge=1)

    @field_validator("licences")
    @classmethod
    def _known(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(licences) - set(KNOWN_LICENCES))
        if unknown:
            raise ValueError(f"{unknown} are no licence families; known: {', '.join(KNOWN_LICENCES)}")
        return tuple(sorted(set(licences)))

    @property
    def bounds(self) -> PhotoBounds:
        """Bounds of a photo file."""
        return PhotoBounds(self.maximum_bytes, self.maximum_pixels, self.minimum_side)
