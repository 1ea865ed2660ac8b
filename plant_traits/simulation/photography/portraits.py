"""What is in the frame: the whole plant, a branch with its leaves, or one leaf held to a ruler or a hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from plant_traits.simulation.photography.looks import Look, mix, rgb
from plant_traits.simulation.photography.plants import draw_flower, draw_leaves, draw_plant
from plant_traits.simulation.photography.scale_cues import SHARE_WITH_CUE, draw_cue, draw_hand, draw_person, draw_ruler
from plant_traits.simulation.photography.scenes import Frame, Stand, landscape, stand


def paint(
    rng: np.random.Generator, frame: Frame, look: Look, closeness: float, care: float, biome: float
) -> Image.Image:
    """Compose a photo of a plant; people with a habit of going close show branches and leaves more often."""
    nearness = 0.75 * closeness + 0.7 * rng.normal()
    look = replace(look, leaf=look.leaf + 0.16 * rng.normal())  # leaves are seen at all angles
    place = stand(rng, frame, look, closeness, care)
    image = landscape(rng, frame, place, biome)
    if nearness > 1.75:
        return _leaf(rng, image, frame, look)
    if nearness > 0.65:
        return _branch(rng, image, frame, look, place)
    draw = ImageDraw.Draw(image)
    with_cue = rng.random() < SHARE_WITH_CUE
    shadow = 0.24 * frame.side
    ground = mix(image.getpixel((int(min(max(place.x, 0), frame.width - 1)), int(place.foot) - 1)), (24, 26, 20), 0.5)  # type: ignore[arg-type]
    east = place.x + 0.35 * shadow  # the light comes from the upper left
    draw.ellipse((east - shadow, place.foot - 0.10 * shadow, east + shadow, place.foot + 0.12 * shadow), fill=ground)
    if with_cue:
        draw_cue(rng, draw, frame, place, look.height_m)
    draw_plant(rng, draw, look, place.x, place.foot, place.top, frame.side)
    return image


def _branch(rng: np.random.Generator, image: Image.Image, frame: Frame, look: Look, place: Stand) -> Image.Image:
    """Draw twigs and leaves before the blurred plant and landscape; taller plants have stouter, more divided twigs."""
    side = frame.side
    back = ImageDraw.Draw(image)
    draw_plant(rng, back, look, place.x, place.foot, place.top, side)
    if rng.random() < SHARE_WITH_CUE and look.height_m > 1.1:
        draw_person(back, frame.x(0.82), place.foot, 1.7 * place.metre, rgb(rng.random(), 0.6, 0.7))
    image = image.reduce(4).filter(ImageFilter.BoxBlur(2)).resize(image.size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    woody = look.habit in ("tree", "shrub")
    bark = rgb(0.07, 0.32, 0.38) if woody else mix(look.foliage(-0.05), (150, 120, 70), 0.2)
    thick = max(2, int(side * 0.014 * np.exp(0.30 * look.tall)))
    twigs = int(min(max(round(3.2 + 1.2 * look.tall), 1), 7))
    leaf = look.leaf_length(side, near=2.1)
    start = np.array([frame.x(-0.15), frame.y(rng.uniform(0.62, 0.85))])
    end = np.array([frame.x(rng.uniform(0.85, 1.0)), frame.y(rng.uniform(0.20, 0.42))])
    if not woody:
        start = np.array([frame.x(rng.uniform(0.35, 0.65)), frame.y(1.2)])
        end = np.array([frame.x(rng.uniform(0.40, 0.60)), frame.y(rng.uniform(0.08, 0.22))])
    draw.line((*start, *end), fill=bark, width=thick)
    direction = (end - start) / np.hypot(*(end - start))
    heading = float(np.arctan2(direction[1], direction[0]))
    lines = [(start, end)]
    for twig in range(twigs):
        root = start + (end - start) * (0.15 + 0.75 * (twig + 0.5) / twigs)
        turn = heading + (0.75 if twig % 2 else -0.75) + rng.normal(0, 0.12)
        tip = root + side * rng.uniform(0.22, 0.34) * np.array([np.cos(turn), np.sin(turn)])
        draw.line((*root, *tip), fill=bark, width=max(1, int(thick * 0.55)))
        lines.append((root, tip))
    at, angle = [], []
    for root, tip in lines:
        long = float(np.hypot(*(tip - root)))
        pairs = int(min(max(round(1.6 * long / leaf), 1), 13))
        turn = float(np.arctan2(*(tip - root)[::-1]))
        for k in range(pairs):
            spot = root + (tip - root) * ((k + 0.8) / (pairs + 0.3))
            at += [spot, spot]
            angle += [turn + 0.8, turn - 0.8]
        at.append(tip)
        angle.append(turn)
    turns = np.array(angle) + rng.normal(0, 0.2, len(angle))
    draw_leaves(rng, draw, look, np.array(at), turns, leaf * rng.uniform(0.8, 1.15, len(at)))
    if look.colourful > 0.3:
        for _, tip in lines[1:]:
            draw_flower(draw, look.flower, float(tip[0]), float(tip[1]), side * (0.02 + 0.035 * look.colourful))
    return image


def _leaf(rng: np.random.Generator, image: Image.Image, frame: Frame, look: Look) -> Image.Image:
    """Lay a leaf or three on a ruler or a hand; marks and fingers are the smaller, the larger the leaf."""
    side = frame.side
    image = image.reduce(8).filter(ImageFilter.BoxBlur(2)).resize(image.size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    length = side * min(max(0.46 * float(np.exp(0.30 * look.leaf)), 0.22), 0.85)
    true_length_m = float(np.sqrt(2.6 * np.exp(7.0 + 1.4 * look.leaf))) / 1000
    metre = length / true_length_m
    if rng.random() < 0.5:
        draw_ruler(draw, frame.x(0.02), frame.x(0.98), frame.y(0.74), 0.01 * metre)
    else:
        finger = min(max(0.017 * metre, 0.05 * side), 0.24 * side)
        draw_hand(draw, frame, frame.y(0.62), finger, rng.random())
    count = int(min(max(round(2.2 - 0.8 * look.leaf), 1), 5))
    xs = frame.x(0.5) - 0.5 * length + np.linspace(-0.2, 0.2, count) * side * (count > 1)
    at = np.stack([xs, frame.y(0.55) + rng.normal(0, 0.03 * side, count)], axis=1)
    draw_leaves(rng, draw, look, at, rng.normal(-0.25, 0.25, count), length * rng.uniform(0.9, 1.1, count))
    return image
