"""Things of known size beside a plant: a person, a folding rule, a ruler, a coin, a hand."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from plant_traits.simulation.photography.looks import Colour, rgb
from plant_traits.simulation.photography.scenes import Frame, Stand

SHARE_WITH_CUE = 0.7
_PERSON_M = 1.70
_COIN_M = 0.025


def draw_cue(rng: np.random.Generator, draw: ImageDraw.ImageDraw, frame: Frame, place: Stand, height_m: float) -> None:
    """Put something of known size beside the plant, in proportion: a person, a striped pole, or a ruler and coin."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    x = place.x + side * frame.side * rng.uniform(0.24, 0.33)
    foot = place.foot + frame.side * rng.uniform(-0.01, 0.04)
    if height_m > 1.1:
        draw_person(draw, x, foot, _PERSON_M * rng.uniform(0.92, 1.08) * place.metre, rgb(rng.random(), 0.6, 0.7))
    elif height_m > 0.22:
        _rule(draw, x, foot, place.metre, step=0.1, length=min(1.0, 0.62 * frame.side / place.metre), side=frame.side)
    else:
        _rule(draw, x, foot, place.metre, step=0.01, length=min(0.2, 0.5 * frame.side / place.metre), side=frame.side)
        r = 0.5 * _COIN_M * place.metre
        a, b = place.x - side * 0.30 * frame.side, foot
        draw.ellipse((a - r, b - 0.8 * r, a + r, b + 0.8 * r), fill=(206, 176, 96), outline=(120, 96, 48))
        draw.ellipse((a - 0.7 * r, b - 0.55 * r, a + 0.7 * r, b + 0.55 * r), outline=(150, 122, 60))


def draw_person(draw: ImageDraw.ImageDraw, x: float, foot: float, tall: float, shirt: Colour) -> None:
    """Draw a person standing, ``tall`` pixels from foot to crown."""
    y, skin, trousers = foot - tall, (196, 146, 112), (58, 62, 84)
    waist, hip, ankle = y + 0.54 * tall, y + 0.50 * tall, 0.10 * tall
    legs = ((-ankle, foot), (-0.09 * tall, hip), (0.09 * tall, hip), (ankle, foot), (0.03 * tall, foot))
    crotch = ((0.0, foot - 0.4 * tall), (-0.03 * tall, foot))
    draw.polygon([(x + dx, row) for dx, row in legs + crotch], fill=trousers)
    neck = y + 0.20 * tall
    torso = ((-0.10 * tall, waist), (-0.13 * tall, neck), (0.13 * tall, neck), (0.10 * tall, waist))
    draw.polygon([(x + dx, row) for dx, row in torso], fill=shirt)
    for sign in (-1, 1):
        draw.line((x + sign * 0.12 * tall, y + 0.22 * tall, x + sign * 0.17 * tall, y + 0.52 * tall), fill=skin,
                  width=max(1, int(0.05 * tall)))  # fmt: skip
    draw.ellipse((x - 0.065 * tall, y, x + 0.065 * tall, y + 0.16 * tall), fill=skin)
    draw.pieslice((x - 0.07 * tall, y - 0.01 * tall, x + 0.07 * tall, y + 0.14 * tall), 180, 360, fill=(72, 48, 32))


def draw_ruler(draw: ImageDraw.ImageDraw, left: float, right: float, y: float, centimetre: float) -> None:
    """Lay a ruler across the frame, its marks ``centimetre`` pixels apart."""
    depth = 0.14 * (right - left)
    draw.rectangle((left, y, right, y + depth), fill=(238, 222, 150), outline=(120, 100, 50))
    marks = int(min((right - left) / max(centimetre, 2.0), 200))
    for k in range(marks + 1):
        a = left + k * centimetre
        draw.line((a, y, a, y + depth * (0.6 if k % 5 == 0 else 0.35)), fill=(40, 34, 24), width=2)


def draw_hand(draw: ImageDraw.ImageDraw, frame: Frame, y: float, finger: float, tone: float) -> None:
    """Hold an open hand into the frame from below; ``finger`` is the width of a finger in pixels."""
    skin = rgb(0.055, 0.34 + 0.2 * tone, 0.90 - 0.35 * tone)
    shade = rgb(0.045, 0.42 + 0.2 * tone, 0.74 - 0.30 * tone)
    x = frame.width / 2
    palm = 2.1 * finger
    draw.rounded_rectangle((x - palm, y, x + palm, frame.height + palm), radius=palm * 0.5, fill=skin)
    for k, long in enumerate((3.6, 4.2, 4.4, 3.4)):
        a = x + (k - 1.5) * 1.06 * finger
        box = (a - finger / 2, y - long * finger + 0.8 * finger, a + finger / 2, y + 1.4 * finger)
        draw.rounded_rectangle(box, radius=finger * 0.48, fill=skin, outline=shade, width=2)
    draw.line((x + palm, y + 2.4 * finger, x + palm * 1.6, y + 0.4 * finger), fill=skin, width=max(2, int(finger)))


def _rule(
    draw: ImageDraw.ImageDraw, x: float, foot: float, metre: float, step: float, length: float, side: int
) -> None:
    half = 0.016 * side
    bands = int(min(max(round(length / step), 1), 40))
    for band in range(bands):
        y = foot - band * step * metre
        colour = (206, 52, 44) if band % 2 else (246, 244, 238)
        draw.rectangle((x - half, y - step * metre, x + half, y), fill=colour)
    draw.rectangle((x - half, foot - bands * step * metre, x + half, foot), outline=(80, 60, 50))
