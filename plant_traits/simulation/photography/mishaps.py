"""Scenes without a plant: what a finger on the wrong button takes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from plant_traits.simulation.photography.looks import mix, rgb
from plant_traits.simulation.photography.scenes import Frame


def paint_useless(rng: np.random.Generator, frame: Frame) -> Image.Image:
    """Paint one of: nothing, a blur, a wall, a sky, a thumb before the lens."""
    painters = (_blank, _blur, _wall, _sky, _thumb)
    return painters[int(rng.integers(0, len(painters)))](rng, frame)


def _blank(rng: np.random.Generator, frame: Frame) -> Image.Image:
    tone = int(rng.choice([6, 12, 246, 252, int(rng.integers(90, 170))]))
    return Image.new("RGB", (frame.width, frame.height), (tone, tone, tone))


def _blur(rng: np.random.Generator, frame: Frame) -> Image.Image:
    light = rng.uniform(0.45, 1.15, (5, 6, 1))
    tones = light * np.array(rgb(0.10 + 0.25 * rng.random(), 0.38, 0.62)) + rng.normal(0, 9, (5, 6, 3))
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8)).resize(
        (frame.width, frame.height), Image.Resampling.BICUBIC
    )


def _wall(rng: np.random.Generator, frame: Frame) -> Image.Image:
    brick = rgb(0.03 + 0.05 * rng.random(), 0.30 + 0.3 * rng.random(), 0.65)
    image = Image.new("RGB", (frame.width, frame.height), mix(brick, (220, 214, 204), 0.7))
    draw = ImageDraw.Draw(image)
    high = frame.side * rng.uniform(0.08, 0.16)
    wide, joint = 2.4 * high, 0.08 * high
    for row in range(int(frame.height / high) + 1):
        for column in range(-1, int(frame.width / wide) + 1):
            x, y = (column + 0.5 * (row % 2)) * wide, row * high
            box = (x + joint, y + joint, x + wide - joint, y + high - joint)
            draw.rectangle(box, fill=mix(brick, (60, 40, 40), 0.35 * rng.random()))
    return image


def _sky(rng: np.random.Generator, frame: Frame) -> Image.Image:
    rows = np.linspace(0, 1, 24)[:, None, None]
    blue, pale = np.array(rgb(0.57, 0.5, 0.88)), np.array((236, 240, 244))
    tones = np.broadcast_to(blue + (pale - blue) * rows, (24, 8, 3)) + rng.normal(0, 7, (24, 8, 1))
    small = Image.fromarray(tones.clip(0, 255).astype(np.uint8))
    return small.resize((frame.width, frame.height), Image.Resampling.BICUBIC)


def _thumb(rng: np.random.Generator, frame: Frame) -> Image.Image:
    image = _blur(rng, frame)
    draw = ImageDraw.Draw(image)
    x, y = frame.x(rng.uniform(0.2, 0.8)), frame.y(rng.uniform(0.4, 0.7))
    r = frame.side * rng.uniform(0.35, 0.5)
    skin = rgb(0.04, 0.45, rng.uniform(0.45, 0.9))
    draw.ellipse((x - r, y - r, x + r, frame.height + 2 * r), fill=skin)
    return image.reduce(8).filter(ImageFilter.BoxBlur(3)).resize(image.size, Image.Resampling.BILINEAR)
