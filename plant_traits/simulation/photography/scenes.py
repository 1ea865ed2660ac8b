"""Where a plant stands: sky, hills and ground, seen from as far away as the plant is tall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from plant_traits.simulation.photography.looks import Colour, Look, mix, rgb

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """A canvas and the square at its centre, the part that every crop keeps.

    Attributes:
        width: canvas width, pixels.
        height: canvas height, pixels.
        side: side of the centre square, the canvas's shorter side, pixels.
    """

    width: int
    height: int
    side: int

    def x(self, share: float) -> float:
        """Return the column at a share (0 left, 1 right) of the centre square."""
        return (self.width - self.side) / 2 + share * self.side

    def y(self, share: float) -> float:
        """Return the row at a share (0 top, 1 bottom) of the centre square."""
        return (self.height - self.side) / 2 + share * self.side


@dataclass(frozen=True)
class Stand:
    """Where the plant is in the frame.

    Attributes:
        x: column of the stem's foot.
        foot: row of the stem's foot.
        top: row of the tip.
        horizon: row of the horizon, above the canvas where the camera looks down.
        metre: pixels per metre at the plant.
    """

    x: float
    foot: float
    top: float
    horizon: float
    metre: float


def stand(rng: np.random.Generator, frame: Frame, look: Look, closeness: float, care: float) -> Stand:
    """Choose the framing: for tall plants the camera goes back and looks up, for low ones it looks down."""
    tall, sloppy = look.tall, 1.6 - care
    shift, lift, zoom, tilt = rng.normal(size=4)
    share = min(max(0.58 + 0.05 * tall, 0.42), 0.78) * float(np.exp(0.09 * sloppy * zoom + 0.05 * closeness))
    foot = min(max(0.72 + 0.06 * tall, 0.64), 0.90) + 0.02 * sloppy * lift
    x = frame.x(0.5 + 0.06 * sloppy * shift)
    horizon = frame.y(0.43 + (0.125 if tall > 0 else 0.19) * tall + 0.045 * tilt)
    return Stand(
        x=x,
        foot=frame.y(foot),
        top=frame.y(foot - share),
        horizon=min(horizon, frame.y(foot) - 0.02 * frame.side),
        metre=share * frame.side / look.height_m,
    )


def landscape(rng: np.random.Generator, frame: Frame, place: Stand, biome: float) -> Image.Image:
    """Paint sky, hills and textured ground; the ground's grain is the coarser the nearer the camera."""
    earth = mix(rgb(0.095, 0.40, 0.74), rgb(0.20, 0.34, 0.46), biome)
    hue, value = rng.normal(0.0, [0.008, 0.035])
    sky = rgb(0.57 + hue, 0.26 + 0.16 * rng.random(), 0.93 + value)
    image = Image.new("RGB", (frame.width, frame.height), earth)
    draw = ImageDraw.Draw(image)
    horizon = place.horizon
    grain = min(max(0.11 * place.metre, 2.5), 0.17 * frame.side)
    _texture(rng, image, max(horizon, 0.0), grain, earth)
    if horizon > 0:
        _sky(rng, draw, frame, horizon, sky, earth, biome, place.metre)
    _ground(rng, draw, frame, place, earth, biome)
    return image


def _texture(rng: np.random.Generator, image: Image.Image, top: float, grain: float, earth: Colour) -> None:
    width, height = image.width, image.height - int(top)
    if height < 2:
        return
    shape = (max(2, round(height / grain * 1.6)), max(2, round(width / grain)))
    light = rng.random(shape, dtype=np.float32) - 0.5
    near = np.linspace(0.5, 1.2, shape[0], dtype=np.float32)[:, None]
    tone = (np.array(earth, dtype=np.float32) * (1.03 + 0.62 * (light * near)[..., None])).clip(0, 255)
    patch = Image.fromarray(tone.astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    image.paste(patch, (0, int(top)))


def _sky(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    frame: Frame,
    horizon: float,
    sky: Colour,
    earth: Colour,
    biome: float,
    metre: float,
) -> None:
    bands = 12
    for band in range(bands):
        colour = mix(sky, (246, 244, 236), band / bands * 0.75)
        draw.rectangle((0, horizon * band / bands, frame.width, horizon * (band + 1) / bands + 1), fill=colour)
    for _ in range(int(rng.integers(0, 4))):  # clouds
        x, y, w = rng.random() * frame.width, rng.random() * horizon * 0.6, frame.side * (0.10 + 0.12 * rng.random())
        white = mix(sky, (255, 255, 255), 0.6)
        for offset, size in ((-0.5, 0.6), (0.0, 1.0), (0.55, 0.7)):
            r = w * size * 0.5
            draw.ellipse((x + offset * w - r, y - r * 0.45, x + offset * w + r, y + r * 0.45), fill=white)
    steps = np.linspace(0, frame.width, 16)
    far = mix(rgb(0.10, 0.22, 0.72), rgb(0.36, 0.22, 0.52), biome)
    for level, height in ((0.55, 0.10), (0.25, 0.05)):
        phase = rng.random() * 6.3
        rise = horizon - frame.side * height * (0.6 + 0.4 * np.sin(steps / frame.side * (3 + 6 * height * 10) + phase))
        ridge = np.stack([steps, rise], axis=1).ravel().tolist()
        draw.polygon([*ridge, frame.width, horizon + 1, 0, horizon + 1], fill=mix(far, sky, level))
    wood = 4.5 * metre * 0.35  # a far row of trees, so small where the plant is tall
    if 2 < wood < 0.5 * frame.side:
        count = int(min(frame.width / wood, 30) * (0.2 + 0.6 * biome))
        colour = mix(far, (40, 60, 40), 0.35)
        for x in (rng.random(count) * frame.width).tolist():
            draw.ellipse((x - wood * 0.4, horizon - wood, x + wood * 0.4, horizon + 1), fill=colour)


def _ground(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, frame: Frame, place: Stand, earth: Colour, biome: float
) -> None:
    """Scatter grass tufts and pebbles of a true size, so that they tell the distance."""
    top = max(place.horizon, 0.0)
    blade = min(max(0.13 * place.metre, 3.0), 0.28 * frame.side)
    stone = min(max(0.035 * place.metre, 1.5), 0.09 * frame.side)
    count = int(min(18 + 900 / blade, 110))
    x, depth = rng.random(count) * frame.width, rng.random(count)
    y = top + (frame.height * 1.04 - top) * depth
    size = blade * (0.35 + 0.75 * depth) * rng.uniform(0.6, 1.2, count)
    tuft = [mix(rgb(0.14, 0.45, 0.68), rgb(0.25, 0.50, 0.48), biome), mix(earth, (84, 96, 48), 0.5)]
    lean = rng.normal(0, 0.3, count)
    thick = max(0.7, blade / 22)
    grass = rng.random(count) < 0.25 + 0.55 * biome
    for a, b, s, tilt, green in zip(x.tolist(), y.tolist(), size.tolist(), lean.tolist(), grass.tolist(), strict=True):
        if green:
            colour = tuft[int(tilt > 0)]
            draw.polygon((a - thick, b, a + thick, b, a + tilt * s, b - s), fill=colour)
            draw.polygon((a - thick, b, a + thick, b, a + (tilt - 0.45) * s, b - 0.8 * s), fill=colour)
            draw.polygon((a - thick, b, a + thick, b, a + (tilt + 0.40) * s, b - 0.7 * s), fill=tuft[int(tilt < 0)])
        else:
            r = stone * (0.6 + abs(tilt) * 2)
            draw.ellipse((a - r, b - 0.6 * r, a + r, b + 0.6 * r), fill=mix(earth, (212, 204, 190), 0.30 + 0.4 * tilt))
