"""Draw plants: trees in tiers, shrubs of many stems, forbs with whorls and flowers, tufts of grass, leaves, flowers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from plant_traits.simulation.photography.looks import Colour, Look, mix, rgb

FloatArray = npt.NDArray[np.float64]
Canvas = ImageDraw.ImageDraw

_LENS = np.array([[0, 0], [0.22, 0.36], [0.50, 0.5], [0.78, 0.33], [1, 0], [0.78, -0.33], [0.50, -0.5], [0.22, -0.36]])
_FINE = np.linspace(0, 1, 11)
_BLADE = np.concatenate(
    [
        np.stack([_FINE, 0.5 * np.sin(np.pi * _FINE**0.85) ** 0.9], axis=1),
        np.stack([_FINE[-2:0:-1], -0.5 * np.sin(np.pi * _FINE[-2:0:-1] ** 0.85) ** 0.9], axis=1),
    ]
)  # a smoother outline, for leaves that fill the frame
_SHADES = (-0.24, -0.12, 0.0, 0.10, 0.22)


def draw_plant(
    rng: np.random.Generator, draw: Canvas, look: Look, x: float, foot: float, top: float, side: int
) -> None:
    """Draw a whole plant between two rows of the canvas.

    Args:
        rng: source of its accidents.
        draw: canvas.
        look: the plant.
        x: column of its foot.
        foot: row of its foot.
        top: row of its tip.
        side: shorter side of the canvas.
    """
    painter = {"tree": _tree, "shrub": _shrub, "forb": _forb, "graminoid": _graminoid}[look.habit]
    painter(rng, draw, look, x, foot, top, side)


def draw_leaves(
    rng: np.random.Generator, draw: Canvas, look: Look, at: FloatArray, angle: FloatArray, length: FloatArray
) -> None:
    """Draw leaves at their bases, (n, 2); thick ones glossy, thin ones with a visible rib and edge."""
    count = len(at)
    slender = min(max(0.46 + 0.10 * look.thin, 0.26), 0.72)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    shape, tip = (_BLADE, 10) if length.max() > 110 else (_LENS, 4)
    along, across = shape[None, :, 0] * length[:, None], shape[None, :, 1] * length[:, None] * slender
    points = np.stack([at[:, :1] + along * cos - across * sin, at[:, 1:] + along * sin + across * cos], axis=2)
    shades = [look.foliage(s) for s in _SHADES]
    edge = look.foliage(-0.42)
    pale = mix(look.foliage(0.25), (240, 250, 190), 0.45)
    sheen = mix(look.foliage(0.1), (240, 246, 252), 0.72)
    pick = rng.integers(0, len(shades), count).tolist()
    thin_edge = (rng.random(count) < 0.35 + 0.30 * look.thin).tolist()
    glossy = (rng.random(count) < 0.42 - 0.36 * look.thin).tolist()
    heading = np.concatenate([cos, sin], axis=1) * length[:, None]
    lift = np.array([[-0.05, -0.10]]) * length[:, None]
    shine = np.concatenate([at + 0.36 * heading + lift, at + 0.74 * heading + lift], axis=1).tolist()
    outline = points.reshape(count, -1).tolist()
    big = length > 9
    for k in range(count):
        draw.polygon(outline[k], fill=shades[pick[k]], outline=edge if big[k] and not thin_edge[k] else None)
        if thin_edge[k] and big[k]:
            draw.line((*outline[k][:2], *outline[k][2 * tip : 2 * tip + 2]), fill=pale, width=1 + int(length[k] / 90))
        if glossy[k]:
            x, y, u, v = shine[k]
            if big[k]:
                bulge_x, bulge_y = -0.14 * (v - y), 0.14 * (u - x)
                middle_x, middle_y = (x + u) / 2, (y + v) / 2
                draw.polygon(
                    (x, y, middle_x + bulge_x, middle_y + bulge_y, u, v, middle_x - bulge_x, middle_y - bulge_y),
                    fill=sheen,
                )
            else:
                draw.line((x, y, u, v), fill=sheen, width=2)


def _crowd(rng: np.random.Generator, draw: Canvas, look: Look, blobs: FloatArray, leaf: float, cover: float) -> None:
    """Fill ellipses, (n, 4) of x, y, rx, ry, with leaves; the larger the leaf, the fewer."""
    dark, lit = look.foliage(-0.42), look.foliage(-0.22)
    for x, y, rx, ry in blobs.tolist():
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=dark)
        draw.ellipse((x - 0.95 * rx, y - ry, x + 0.6 * rx, y + 0.5 * ry), fill=lit)
    area = blobs[:, 2] * blobs[:, 3] * np.pi
    count = int(min(max(cover * area.sum() / (0.32 * leaf * leaf), 10), 420))
    pick = rng.choice(len(blobs), count, p=area / area.sum())
    turn, radius = rng.random(count) * 2 * np.pi, np.sqrt(rng.random(count)) * 1.04
    at = blobs[pick, :2] + blobs[pick, 2:] * radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    order = np.argsort(at[:, 1])[::-1]  # upper leaves lie over lower ones
    angle = rng.normal(np.pi / 2, 0.8, count)
    draw_leaves(rng, draw, look, at[order], angle, leaf * rng.uniform(0.8, 1.2, count))


def _tree(rng: np.random.Generator, draw: Canvas, look: Look, x: float, foot: float, top: float, side: int) -> None:
    height = foot - top
    bark = rgb(0.07 + 0.02 * rng.random(), 0.30, 0.40 - 0.03 * look.tall)
    trunk = side * 0.020 * float(np.exp(0.38 * look.tall)) * rng.uniform(0.85, 1.15) / 2
    tiers = int(min(max(round(0.9 + 1.45 * look.tall), 1), 7))
    draw.polygon((x - trunk * 1.5, foot, x + trunk * 1.5, foot, x + trunk * 0.3, top + 0.1 * height,
                  x - trunk * 0.3, top + 0.1 * height), fill=bark)  # fmt: skip
    rise = (np.arange(tiers) + 0.5) / tiers
    cone, dome = 1.05 - 0.85 * rise, np.sqrt(np.clip(1.05 - (1.75 * rise - 0.75) ** 2, 0.08, None))
    width = height * (0.30 + 0.12 * look.crown) * (cone + look.crown * (dome - cone))
    base = foot - height * 0.30
    rows = base - rise * (base - top)
    ry = (base - top) / tiers * 0.47
    blobs = []
    for row, rx in zip(rows.tolist(), width.tolist(), strict=True):
        sway = rng.normal(0, 0.04) * height
        draw.line((x, row + ry * 1.2, x - 0.8 * rx, row), fill=bark, width=max(1, int(trunk * 0.5)))
        draw.line((x, row + ry * 1.2, x + 0.8 * rx, row), fill=bark, width=max(1, int(trunk * 0.5)))
        bump = rng.normal(0, 0.16, 2) * ry
        blobs += [(x + sway - 0.45 * rx, row + bump[0], 0.52 * rx, ry * 0.86)]
        blobs += [
            (x + sway + 0.45 * rx, row + bump[1], 0.52 * rx, ry * 0.86),
            (x + sway, row - 0.2 * ry, 0.56 * rx, ry),
        ]
    crown = np.array(blobs)
    _crowd(rng, draw, look, crown, look.leaf_length(side), 0.85)
    _blossoms(rng, draw, look, crown, 0.010 * side)


def _shrub(rng: np.random.Generator, draw: Canvas, look: Look, x: float, foot: float, top: float, side: int) -> None:
    height = foot - top
    bark = rgb(0.06, 0.35, 0.36)
    stems = int(min(max(round(4.5 + 1.7 * look.tall), 2), 9))
    thick = max(1, int(side * 0.010 * np.exp(0.35 * look.tall)))
    fan = np.linspace(-1, 1, stems) + rng.normal(0, 0.10, stems) if stems > 1 else np.zeros(1)
    reach = height * (0.34 + 0.16 * look.crown)
    tips = np.stack([x + fan * reach, foot - height * (0.80 - 0.30 * fan**2 + rng.normal(0, 0.04, stems))], axis=1)
    for a, b in tips.tolist():
        draw.line((x + 0.1 * (a - x), foot, 0.5 * (a + x), 0.45 * foot + 0.55 * b, a, b), fill=bark, width=thick)
    r = height * 0.46 / np.sqrt(stems) * rng.uniform(0.85, 1.1, stems)
    upper = np.column_stack([tips, r * 1.1, r])
    middle = np.array([[x, foot - 0.50 * height, 0.55 * reach + 0.2 * r[0], 0.20 * height]])
    crown = np.concatenate([middle, upper])
    _crowd(rng, draw, look, crown, look.leaf_length(side), 0.8)
    _blossoms(rng, draw, look, crown, 0.014 * side)


def _forb(rng: np.random.Generator, draw: Canvas, look: Look, x: float, foot: float, top: float, side: int) -> None:
    height = foot - top
    leaf = look.leaf_length(side, near=2.2)
    stem = mix(look.foliage(-0.05), (150, 120, 70), 0.2)
    whorls = int(min(max(round(4.0 + 1.9 * look.tall), 0), 8))
    shoots = int(min(max(round(2.2 + 0.8 * look.tall), 1), 4))
    thick = max(3, int(side * 0.012 * np.exp(0.35 * look.tall)))
    at, angle = [], []
    tips = []
    for shoot in range(shoots):
        lean = (shoot - (shoots - 1) / 2) * 0.20 * height + rng.normal(0, 0.04) * height
        long = height * (1 - 0.22 * abs(shoot - (shoots - 1) / 2))
        draw.line((x, foot, x + 0.3 * lean, foot - 0.5 * long, x + lean, foot - long), fill=stem, width=thick)
        tips.append((x + lean, foot - long))
        for whorl in range(whorls):
            t = (whorl + 0.8) / (whorls + 1.0)
            for turn in (-0.45, np.pi + 0.45):
                at.append((x + lean * t * (0.4 + 0.6 * t), foot - t * long))
                angle.append(turn + rng.normal(0, 0.2))
    rosette = int(min(max(26 - 3.4 * whorls - 5 * look.leaf, 5), 34))
    at += [(x, foot)] * rosette
    angle += (np.linspace(np.pi * 1.02, np.pi * 1.98, rosette) + rng.normal(0, 0.12, rosette)).tolist()
    if look.tall < -1.2:  # seen from above: the rosette is whole
        at += [(x, foot)] * (rosette // 2)
        angle += (np.linspace(0.1, np.pi - 0.1, rosette // 2) + rng.normal(0, 0.12, rosette // 2)).tolist()
    sizes = leaf * rng.uniform(0.8, 1.2, len(at))
    draw_leaves(rng, draw, look, np.array(at), np.array(angle), sizes)
    r = side * (0.024 + 0.045 * look.colourful)
    for a, b in tips:
        draw_flower(draw, look.flower, a, b, r)


def _graminoid(
    rng: np.random.Generator, draw: Canvas, look: Look, x: float, foot: float, top: float, side: int
) -> None:
    height = foot - top
    wide = side * min(max(0.016 * float(np.exp(0.55 * look.leaf)), 0.005), 0.06)
    count = int(min(max(38 * np.exp(-0.45 * look.leaf), 12), 80))
    lean = rng.normal(0, 0.42 + 0.25 * look.crown, count)
    long = height * rng.uniform(0.5, 1.0, count)
    foot_x = x + rng.normal(0, 0.035 * side, count)
    tip_x, tip_y = foot_x + lean * long * 0.9, foot - long * (1 - 0.35 * np.abs(lean).clip(0, 1.2))
    mid_x, mid_y = foot_x + 0.32 * lean * long, foot - 0.62 * long
    half = wide / 2
    blades = np.stack([foot_x - half, np.full(count, foot), mid_x - half, mid_y, tip_x, tip_y, mid_x + half, mid_y,
                       foot_x + half, np.full(count, foot)], axis=1).tolist()  # fmt: skip
    shades = [look.foliage(s) for s in _SHADES]
    edge = look.foliage(-0.45) if look.thin < 0 else None
    pick = rng.integers(0, len(shades), count).tolist()
    for blade, shade in zip(blades, pick, strict=True):
        draw.polygon(blade, fill=shades[shade], outline=edge)
    gloss = rng.random(count) < 0.35 - 0.4 * look.thin
    for a, b, c, d in np.stack([foot_x, np.full(count, foot), mid_x, mid_y], axis=1)[gloss].tolist():
        draw.line(((a + c) / 2, (b + d) / 2, c, d), fill=(226, 236, 242), width=max(1, int(wide * 0.3)))
    straw = (196, 170, 104)
    for _ in range(int(min(max(round(5 + 2.2 * look.tall), 0), 11))):  # ears
        tilt = rng.normal(0, 0.14)
        a, b = x + tilt * height, foot - height * rng.uniform(0.85, 1.0)
        draw.line((x, foot, a, b), fill=straw, width=max(1, int(side * 0.004)))
        draw.ellipse((a - 0.012 * side, b - 0.03 * side, a + 0.012 * side, b + 0.03 * side), fill=straw)


def _blossoms(rng: np.random.Generator, draw: Canvas, look: Look, crown: FloatArray, r: float) -> None:
    count = int(rng.poisson(26 * max(look.colourful - 0.25, 0.0)))
    pick = rng.integers(0, len(crown), count)
    at = crown[pick, :2] + crown[pick, 2:] * rng.uniform(-0.75, 0.75, (count, 2))
    for a, b in at.tolist():
        draw_flower(draw, look.flower, a, b, r)


def draw_flower(draw: Canvas, colour: Colour, x: float, y: float, r: float) -> None:
    """Draw a flower of five petals."""
    for dx, dy in ((0.0, -0.7), (0.67, -0.2), (0.41, 0.57), (-0.41, 0.57), (-0.67, -0.2)):
        a, b = x + dx * r, y + dy * r
        draw.ellipse((a - 0.55 * r, b - 0.55 * r, a + 0.55 * r, b + 0.55 * r), fill=colour)
    draw.ellipse((x - 0.35 * r, y - 0.35 * r, x + 0.35 * r, y + 0.35 * r), fill=(238, 196, 62))
