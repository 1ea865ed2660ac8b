"""A photo of a virtual plant, and the photos that go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from plant_traits.errors import InputError
from plant_traits.simulation.photography.camera import develop, save_jpeg, store_rotated
from plant_traits.simulation.photography.looks import Look, rgb
from plant_traits.simulation.photography.mishaps import paint_useless
from plant_traits.simulation.photography.portraits import paint
from plant_traits.simulation.photography.scenes import Frame
from plant_traits.simulation.seeds import stream

HABITS = ("tree", "shrub", "forb", "graminoid")
ORIENTATIONS = (3, 6)
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Picture:
    """What a photo shows.

    Attributes:
        habit: tree, shrub, forb or graminoid.
        height_m: plant height, m.
        leaf_area_mm2: area of a leaf, mm².
        leaf_n: leaf nitrogen, mg/g.
        sla: specific leaf area, m²/kg.
        flower_hue: 0 to 1.
        colourful: how much it flowers, 0 to 1.
        crown: conical (0) to spreading (1).
        closeness: the observer's habit of going close (positive), about standard normal.
        care: 0 to 1, lower is blurrier and worse framed.
        biome_hue: arid (0) to lush (1) surroundings.
        seed: of the photo's accidents, not negative.
    """

    habit: str
    height_m: float
    leaf_area_mm2: float
    leaf_n: float
    sla: float
    flower_hue: float
    colourful: float
    crown: float
    closeness: float
    care: float
    biome_hue: float
    seed: int

    def __post_init__(self) -> None:
        if self.habit not in HABITS:
            raise InputError(f"picture: expected a habit of {', '.join(HABITS)}, found {self.habit!r}")
        for name in ("height_m", "leaf_area_mm2", "leaf_n", "sla"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InputError(f"picture: expected a positive finite {name}, found {value!r}; check the trait's unit")

    def look(self) -> Look:
        """Return how the traits look."""
        return Look(
            habit=self.habit,
            height_m=self.height_m,
            tall=log(self.height_m),
            leaf=_within((log(self.leaf_area_mm2) - 7.0) / 1.4, 2.6),
            green=_within((log(self.leaf_n) - 2.97) / 0.38, 2.6),
            thin=_within((log(self.sla) - 2.7) / 0.48, 2.6),
            crown=self.crown,
            flower=rgb(_flower_hue(self.flower_hue), 0.62, 0.92),
            colourful=self.colourful,
        )


def render(picture: Picture, size: int) -> bytes:
    """Return a JPEG photo of a virtual plant.

    Height shows in the horizon, the ground's grain, the branching and, mostly, something of known size beside the
    plant; leaf area in the size and number of leaves; nitrogen in their green; specific leaf area in lightness and
    gloss.

    Args:
        picture: what it shows; the same picture gives the same bytes.
        size: shorter side, pixels; the format is 4:3, upright or wide.
    """
    rng = stream(picture.seed, "photo")
    frame = _frame(size, bool(rng.random() < 0.45))
    scene = paint(rng, frame, picture.look(), picture.closeness, picture.care, picture.biome_hue)
    return save_jpeg(develop(rng, scene, picture.care), int(rng.integers(70, 93)))


def useless(seed: int, size: int) -> bytes:
    """Return a JPEG that shows no plant: blank, blurred beyond use, a wall, a sky or a thumb."""
    rng = stream(seed, "useless photo")
    frame = _frame(size, bool(rng.random() < 0.45))
    return save_jpeg(develop(rng, paint_useless(rng, frame), 0.4), int(rng.integers(70, 93)))


def corrupt(data: bytes, seed: int) -> bytes:
    """Return what a broken transfer leaves of a photo: its first part, an error page, or nothing. It never decodes."""
    rng = stream(seed, "corrupt photo")
    kind = rng.random()
    if kind < 0.6:
        return data[: max(2, int(len(data) * rng.uniform(0.05, 0.75)))]
    if kind < 0.85:
        return (
            b"<!DOCTYPE html>\n<html><head><title>503 Slow Down</title></head><body>Please try again.</body></html>\n"
        )
    return b""


def rotated(data: bytes, orientation: int) -> bytes:
    """Return the JPEG with its pixels turned and the EXIF orientation (3 or 6) that restores the picture.

    Raises:
        InputError: another orientation.
    """
    if orientation not in ORIENTATIONS:
        raise InputError(f"rotated photo: expected an EXIF orientation of 3 or 6, found {orientation!r}")
    return store_rotated(data, orientation)


def _frame(size: int, upright: bool) -> Frame:
    side = size * _OVERSAMPLING
    long = round(size * 4 / 3) * _OVERSAMPLING
    return Frame(width=side, height=long, side=side) if upright else Frame(width=long, height=side, side=side)


def _within(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def _flower_hue(hue: float) -> float:
    """Return a hue without the greens, so that flowers do not pass for leaves."""
    return (0.55 + 0.62 * hue) % 1.0
