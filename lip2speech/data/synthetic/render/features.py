"""Features painted on a drawn face once per clip: skin, eyes, brows, nostrils, hair, beard, neck, clothes.

Same units and axes as `faces`. Painters modify the canvas image (HEIGHT, WIDTH, 3) float32 in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.render.faces import (
    Canvas,
    Geometry,
    canvas_grid,
    elevation,
    half_width,
    noise,
    normals,
)
from lip2speech.data.synthetic.render.light import Light, sample_light
from lip2speech.data.synthetic.render.mouth import MouthStyle

# skin under white light from light to dark, RGB; a face interpolates between two adjacent ones
SKINS = np.array(
    [[246, 212, 190], [232, 190, 160], [214, 164, 130], [184, 132, 98], [142, 96, 70], [98, 64, 48]], float
)
HAIRS = np.array(
    [[28, 22, 20], [62, 42, 30], [105, 72, 46], [168, 130, 84], [150, 82, 48], [170, 168, 166]], float
)
IRISES = np.array([[74, 48, 30], [96, 70, 44], [84, 110, 128], [90, 112, 84], [40, 28, 22]], float)


def step(distance: NDArray[Any], softness: float) -> NDArray[Any]:
    """0 where distance << 0, 1 where >> 0."""
    return np.clip(distance / softness + 0.5, 0.0, 1.0)


def paint(image: NDArray[Any], color: NDArray[Any], mask: NDArray[Any]) -> None:
    """Blend `color` ((3,) or (H, W, 3)) into the image with the opacity mask (H, W), in place."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return
    band = slice(rows[0], rows[-1] + 1)
    cover = mask[band].astype(np.float32)[..., None]
    color = np.asarray(color, np.float32)
    image[band] += (color[band] if color.ndim == 3 else color) * cover - image[band] * cover


def draw_canvas(identity: np.random.Generator, scene: np.random.Generator, name: str = "") -> Canvas:
    """A face sampled from `identity`, with light and background sampled from `scene`."""
    geometry = Geometry.sample(identity)
    where = identity.uniform(0, len(SKINS) - 1)
    low = min(int(where), len(SKINS) - 2)
    skin = SKINS[low] + (where - low) * (SKINS[low + 1] - SKINS[low])
    hair = HAIRS[identity.integers(len(HAIRS))] * identity.uniform(0.7, 1.2)
    mouth = MouthStyle.sample(identity, y=geometry.mouth_y, skin=skin)
    light = sample_light(scene)
    z, inside = elevation(geometry)
    shade = light.shade(*normals(z))
    image = _background(scene)
    long_hair = identity.random() < 0.4
    _draw_body(image, geometry, skin, light, identity)
    if long_hair:
        _draw_long_hair(image, geometry, hair, identity)
    albedo = _skin_albedo(skin, geometry, identity)
    _beard(albedo, geometry, mouth, hair, identity)
    paint(image, albedo * shade, step(inside, 0.03))
    _draw_nostrils(image, geometry)
    lit = light.on_front(0.7)
    iris = IRISES[identity.integers(len(IRISES))] * identity.uniform(0.8, 1.2)
    for side in (-1, 1):
        _draw_eye(image, side, iris, lit)
        _draw_brow(image, side, hair * lit, geometry)
    _draw_hair(image, geometry, hair * lit, identity)
    return Canvas(
        np.clip(image, 0, 255).astype(np.float32), (skin * lit).astype(np.float32), mouth, light, name
    )


def _background(rng: np.random.Generator) -> NDArray[Any]:
    """A wall out of focus: a gradient and a few soft blobs."""
    x, y = canvas_grid()
    base = rng.uniform(20, 220) + rng.normal(0, 18, 3)
    tilt = rng.normal(0, 12, 2)
    blobs = noise(rng, int(rng.integers(3, 9))) * rng.uniform(2, 28)
    wall: NDArray[Any] = base + (tilt[0] * x + tilt[1] * y + blobs)[..., None] * rng.uniform(0.7, 1.3, 3)
    return wall.astype(np.float32)


def _skin_albedo(skin: NDArray[Any], geometry: Geometry, rng: np.random.Generator) -> NDArray[Any]:
    """Albedo of skin with flush, blotches, pores and freckles: (H, W, 3) float32."""
    x, y = canvas_grid()
    albedo = np.empty((*np.broadcast_shapes(x.shape, y.shape), 3), np.float32)
    albedo[...] = skin
    flush = sum(np.exp(-(((x - s * 0.62) / 0.3) ** 2) - ((y - 0.55) / 0.25) ** 2) for s in (-1, 1))
    flush = flush + 0.8 * np.exp(-((x / 0.16) ** 2) - ((y - geometry.nose_y + 0.1) / 0.16) ** 2)
    albedo *= 1 - (flush * rng.uniform(0.0, 0.12))[..., None] * np.array([0.2, 1.0, 0.9], np.float32)
    grain = noise(rng, 24) * rng.uniform(0.0, 0.02) + noise(rng, 200) * rng.uniform(0.0, 0.025)
    freckles = np.clip(noise(rng, 110) - 1.9, 0, 1) * (rng.uniform(0.1, 0.35) if rng.random() < 0.25 else 0.0)
    fold = _folds(geometry, rng)
    albedo *= (1 + grain - freckles - fold)[..., None]
    return albedo


def _folds(geometry: Geometry, rng: np.random.Generator) -> NDArray[Any]:
    """Darkness of the nasolabial folds, from the nostrils past the corners of the mouth: (H, W)."""
    x, y = canvas_grid()
    depth = rng.uniform(0.0, 0.16)
    along = np.clip((y - (geometry.nose_y - 0.08)) / 0.5, 0, 1)
    line = 0.24 + 0.30 * along**0.8
    near = np.exp(-(((np.abs(x) - line) / 0.035) ** 2)) + 0.5 * np.exp(-(((np.abs(x) - line) / 0.10) ** 2))
    darkness: NDArray[Any] = depth * near * np.sin(np.pi * along)
    return darkness


def _beard(
    albedo: NDArray[Any], geometry: Geometry, mouth: MouthStyle, hair: NDArray[Any], rng: np.random.Generator
) -> None:
    """Stubble, moustache or beard around the mouth, in place; most faces have none."""
    kind, roughness = rng.random(), noise(rng, 260) * 0.3
    density, reach = rng.uniform(0.1, 0.45), rng.uniform(0.9, 1.1)
    if kind > 0.4:
        return
    x, y = canvas_grid()
    below = step(y - geometry.mouth_y + 0.02 + 0.5 * np.clip(1 - (np.abs(x) / 0.75), -1, 0.0), 0.3)
    chin = below * step(np.abs(x) * 0.6 + (y - geometry.mouth_y) - 0.10, 0.2)
    lip = np.exp(-(((y - geometry.mouth_y + 0.20) / 0.085) ** 2)) * step(0.50 * reach - np.abs(x), 0.15)
    area = np.clip(chin + lip, 0, 1) if kind < 0.3 else lip
    if kind < 0.13:
        density = rng.uniform(0.6, 0.9)
    cover = np.clip(area * density * (1 + roughness), 0, 0.95).astype(np.float32)
    paint(albedo, hair.astype(np.float32), cover)


def _draw_nostrils(image: NDArray[Any], geometry: Geometry) -> None:
    x, y = canvas_grid()
    width = geometry.nose_width
    for side in (-1, 1):
        dx, dy = x - side * 0.42 * width, y - geometry.nose_y - 0.015
        hole = np.exp(-(((dx / (0.22 * width)) ** 2 + ((dy - 0.1 * side * dx) / 0.035) ** 2) ** 1.3))
        image *= (1 - 0.6 * hole)[..., None]
        wing = np.exp(
            -(((np.abs(x) - 0.92 * width) / 0.03) ** 2 + ((y - geometry.nose_y + 0.05) / 0.07) ** 2)
        )
        image *= (1 - 0.10 * wing)[..., None]
    under = np.exp(-((x / (0.8 * width)) ** 4) - ((y - geometry.nose_y - 0.05) / 0.05) ** 2)
    image *= (1 - 0.18 * under)[..., None]


def _draw_eye(image: NDArray[Any], side: int, iris: NDArray[Any], lit: NDArray[Any]) -> None:
    """One eye: lids, white, iris, pupil, highlight and the crease above."""
    x, y = canvas_grid()
    half, tall = 0.235, 0.088
    dx, dy = (x - side * 0.5) * side, y - 0.0
    u = np.clip(dx / half, -1, 1)
    upper, lower = -tall * (1 - u * u) ** 0.8 - 0.015 * u, 0.62 * tall * (1 - u * u) - 0.015 * u
    inside = step(half - np.abs(dx), 0.02)
    open_eye = step(dy - upper, 0.025) * step(lower - dy, 0.025) * inside
    shade = 0.70 + 0.30 * np.clip((dy - upper) / tall, 0, 1)
    paint(image, (np.array([225.0, 218.0, 212.0]) * lit) * shade[..., None], open_eye)
    radius = np.hypot(dx, dy + 0.012)
    paint(
        image,
        iris * lit * (0.7 + 2.2 * np.clip(radius, 0, 0.2))[..., None],
        open_eye * step(0.108 - radius, 0.02),
    )
    paint(image, np.array([10.0, 8.0, 8.0]), open_eye * step(0.048 - radius, 0.02))
    glint = np.hypot(dx - 0.03, dy + 0.045)
    paint(image, np.array([250.0, 250.0, 250.0]), 0.8 * open_eye * step(0.018 - glint, 0.015))
    lash = (
        np.exp(-(((dy - upper) / 0.020) ** 2)) * inside
        + 0.25 * np.exp(-(((dy - lower) / 0.015) ** 2)) * inside
    )
    paint(image, np.array([24.0, 16.0, 14.0]), np.clip(0.85 * lash, 0, 1))
    crease = np.exp(-(((dy - 1.35 * upper + 0.035) / 0.018) ** 2)) * inside
    image *= (1 - 0.22 * crease)[..., None]


def _draw_brow(image: NDArray[Any], side: int, hair: NDArray[Any], geometry: Geometry) -> None:
    x, y = canvas_grid()
    dx = (x - side * 0.5) * side
    u = np.clip(dx / 0.34, -1, 1)
    arc = -0.30 - 0.06 * (1 - (u - 0.25) ** 2) + 0.02 * geometry.bumps[6, 4]
    thick = 0.032 * (1.15 - 0.5 * u)
    mask = np.exp(-(((y - arc) / thick) ** 2)) * step(0.34 - np.abs(dx), 0.06)
    paint(image, hair * 0.8, 0.85 * mask)


def _strands(rng: np.random.Generator) -> NDArray[Any]:
    """Texture of combed hair: (H, W) float32 around 1."""
    x, y = canvas_grid()
    import cv2

    fine = noise(rng, 220)
    return 1 + 0.22 * cv2.blur(fine, (1, 21)) * 2.0 + 0.10 * np.sin(5 * x + 2 * y)


def _draw_hair(image: NDArray[Any], geometry: Geometry, hair: NDArray[Any], rng: np.random.Generator) -> None:
    """Short hair: a cap over the hairline, or a bald head with hair at the sides."""
    x, y = canvas_grid()
    width = half_width(geometry, np.maximum(y[:, 0], geometry.outline[1, 0]))[:, None]
    volume = rng.uniform(0.02, 0.16)
    top = geometry.outline[0, 0] - volume
    outer = np.sqrt(np.clip(1 - ((y - top - 1.3) / 1.32) ** 2, 0, 1)) * (geometry.outline[4, 1] + volume)
    outer = np.where(y > top, outer, -1.0)
    cap = step(np.where(y < top + 1.3, outer, width + volume * 0.5) - np.abs(x), 0.05) * step(0.15 - y, 0.4)
    sweep = rng.normal(0, 0.12)
    line = geometry.hairline + rng.uniform(0.05, 0.3) * (x / 0.9) ** 2 + sweep * x
    line = np.where(np.abs(x) > 0.88 * geometry.outline[4, 1], 0.6, line)
    hairy = cap * step(line - y, 0.08)
    bald = rng.random() < 0.12
    if bald:
        hairy = hairy * step(np.abs(x) - 0.85 * geometry.outline[4, 1], 0.1) * step(y + 0.9, 0.3)
    paint(image, hair * _strands(rng)[..., None], np.clip(hairy, 0, 1))


def _draw_long_hair(
    image: NDArray[Any], geometry: Geometry, hair: NDArray[Any], rng: np.random.Generator
) -> None:
    """Hair behind the face down to the shoulders."""
    x, y = canvas_grid()
    reach = geometry.outline[4, 1] + rng.uniform(0.1, 0.3)
    length = rng.uniform(1.2, 3.0)
    dome = np.sqrt(np.clip(1 - (np.minimum(y + 0.3, 0.0) / 1.45) ** 2, 0, 1))  # round above the temples
    mask = (
        step(reach * dome + 0.06 * np.sin(3 * y) - np.abs(x), 0.06)
        * step(length - y, 0.3)
        * step(y + 1.6, 0.3)
    )
    paint(image, hair * 0.75 * _strands(rng)[..., None], mask)


def _draw_body(
    image: NDArray[Any], geometry: Geometry, skin: NDArray[Any], light: Light, rng: np.random.Generator
) -> None:
    """Neck in the shadow of the chin, and shoulders in plain clothes."""
    x, y = canvas_grid()
    wide = 0.62 + 0.25 * np.clip((y - geometry.chin_y - 0.35) / 0.8, 0, 1) ** 2
    neck = step(wide - np.abs(x), 0.04) * step(y - 0.9, 0.1)
    roundness = np.sqrt(np.clip(1 - (x / 0.75) ** 2, 0.1, 1))
    shadow = 1 - 0.5 * np.exp(-np.clip(y - geometry.chin_y + 0.1, 0, None) / 0.35)
    color = skin * light.on_front(0.6)
    paint(image, color * (roundness * shadow)[..., None], neck)
    cloth = rng.uniform(15, 215, 3)
    neckline = geometry.chin_y + rng.uniform(0.45, 0.75) - 0.5 * np.clip(1 - (x / 0.5) ** 2, 0, 1) * -0.5
    slope = neckline + 0.12 * np.abs(x) ** 1.5
    cloth_mask = step(y - slope, 0.06)
    paint(
        image,
        cloth * light.on_front(0.6) * (1 + 0.05 * noise(rng, 12))[..., None],
        cloth_mask,
    )
