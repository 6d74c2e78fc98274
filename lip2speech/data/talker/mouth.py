"""The mouth, drawn anew in every frame: lips, teeth, tongue and the dark behind them.

Each curve of a lip (outer and inner edge) is a function of x alone, so that a picture of the mouth is made of
comparisons of a row and a column: a few dozen small array operations a frame. Lengths are in half mouth widths at
rest (1.0 = from the middle to a corner), x right, y down, 0 at the middle of the closed lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .visemes import PARAMETERS

OPENING, SPREAD, ROUNDING, JAW, TUCK, TONGUE, TIP = range(len(PARAMETERS))


@dataclass(frozen=True)
class MouthStyle:
    """How one person's mouth looks and moves."""

    half_width: float  # eye distances
    x: float  # of the middle, eye distances
    y: float
    upper: float  # thickness of the lips at rest, half mouth widths
    lower: float
    bow: float  # depth of the cupid's bow
    corner: float  # corners below (+) or above (-) the middle
    slant: float
    effort: float  # amplitude of the articulation
    narrowing: float  # share of the width that full rounding takes away
    rest: float  # opening at rest
    upper_share: float  # share of an opening that the upper lip makes
    lip: np.ndarray  # (3,) colour under white light, 0..255
    teeth: np.ndarray  # (3,)
    tongue: np.ndarray  # (3,)
    teeth_length: float  # lower edge of the upper teeth, half mouth widths below the rest line
    lower_teeth: float  # upper edge of the lower teeth above the lower lip's inner edge
    edge: float  # sharpness of the lip's border, 0..1
    gloss: float
    wrinkles: np.ndarray  # (64, 256) float32, mean 0

    @classmethod
    def sample(cls, rng: np.random.Generator, *, y: float, skin: np.ndarray) -> MouthStyle:
        """A random mouth on skin of the given colour (3,)."""
        fullness = np.exp(rng.normal(0.0, 0.22))
        redness = rng.uniform(0.0, 1.0)
        natural = skin * np.array([0.86, 0.58, 0.60]) * rng.uniform(0.85, 1.05)
        painted = np.array([150.0, 45.0, 55.0]) * rng.uniform(0.6, 1.25)
        paint = rng.uniform(0.3, 0.8) if rng.random() < 0.15 else 0.0
        lip = (1 - paint) * (
            redness * natural + (1 - redness) * (0.65 * natural + 0.27 * skin)
        ) + paint * painted
        white = rng.uniform(175, 240)
        wrinkles = (
            np.repeat(rng.standard_normal((8, 256)), 8, axis=0) * 0.6 + rng.standard_normal((64, 256)) * 0.5
        )
        return cls(
            half_width=float(np.clip(rng.normal(0.405, 0.03), 0.33, 0.48)),
            x=rng.normal(0.0, 0.012),
            y=y,
            upper=float(np.clip(rng.normal(0.29, 0.05) * fullness, 0.12, 0.46)),
            lower=float(np.clip(rng.normal(0.42, 0.06) * fullness, 0.20, 0.62)),
            bow=rng.uniform(0.1, 0.45),
            corner=rng.normal(0.02, 0.06),
            slant=rng.normal(0.0, 0.03),
            effort=float(np.clip(rng.normal(1.0, 0.2), 0.6, 1.45)),
            narrowing=rng.uniform(0.18, 0.36),
            rest=float(np.clip(rng.normal(-0.02, 0.05), -0.12, 0.10)),
            upper_share=rng.uniform(0.14, 0.34),
            lip=lip.astype(np.float32),
            teeth=white * np.array([1.0, rng.uniform(0.93, 0.99), rng.uniform(0.80, 0.95)], np.float32),
            tongue=np.array([190.0, 105.0, 105.0], np.float32) * rng.uniform(0.8, 1.05),
            teeth_length=rng.uniform(-0.03, 0.18),
            lower_teeth=rng.uniform(-0.05, 0.10),
            edge=rng.uniform(0.35, 1.0),
            gloss=rng.uniform(0.0, 1.0) ** 2,
            wrinkles=wrinkles.astype(np.float32),
        )


@dataclass(frozen=True)
class Curves:
    """The lips of one frame at columns x (N,): outer and inner edges (N,), and the sizes that made them."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    width: float  # half width of the lips
    aperture: float  # opening between the inner edges in the middle
    drop: float  # of the lower lip
    lift: float  # of the upper lip


MAX_APERTURE = 0.68  # half mouth widths, at opening 1 and effort 1: about 17 mm on an adult


def lip_curves(style: MouthStyle, pose: np.ndarray, x: np.ndarray) -> Curves:
    """Edges of the lips for mouth parameters `pose` (7,) at columns x (N,)."""
    effort = style.effort
    opening = pose[OPENING] * effort + style.rest * (1 - min(1.0, abs(pose[OPENING]) * 4))
    press = max(0.0, -opening)
    aperture = MAX_APERTURE * max(0.0, opening)
    rounding = float(np.clip(pose[ROUNDING], 0, 1))
    width = (
        1.0
        + effort * (0.14 * max(0.0, pose[SPREAD]) - style.narrowing * max(0.0, -pose[SPREAD]))
        - 0.05 * pose[JAW]
    )
    u = np.clip(x / width, -1.0, 1.0)
    seam = style.slant * x + style.corner * (u * u - 0.3) - 0.035 * np.cos(3.2 * u) * (1 - u * u) * style.bow
    inner_width = width * (0.90 - 0.24 * rounding)
    v = np.clip(np.abs(x) / inner_width, 0.0, 1.0)
    gape = np.power(1 - np.power(v, 2.0 + 0.5 * rounding), 0.8 - 0.25 * rounding)
    lift = style.upper_share * aperture + 0.07 * pose[TUCK]
    tuck = float(np.clip(pose[TUCK], 0, 1))
    drop = (1 - style.upper_share) * aperture * (1 - 0.75 * tuck)
    rolled = 1 - 0.9 * min(press, 0.6)
    shape = np.power(np.clip(1 - u * u, 0, 1), 0.72)
    stretch = 1 - 0.10 * pose[SPREAD] - 0.12 * max(0.0, opening)
    bow = style.bow * (1 - 0.6 * rounding) * np.exp(-((u / 0.16) ** 2))
    peak = 1 + 0.35 * style.bow * np.exp(-(((np.abs(u) - 0.26) / 0.17) ** 2))
    upper = style.upper * rolled * stretch * (1 + 0.20 * rounding) * shape * (peak - 0.55 * bow)
    lower = style.lower * rolled * stretch * (1 + 0.16 * rounding) * (1 - 0.45 * tuck) * shape
    upper_inner = seam - lift * gape
    lower_inner = seam + drop * gape
    outer_lift = 0.75 * lift * np.power(1 - np.minimum(np.abs(u), 1) ** 2, 0.9)
    outer_drop = drop * np.power(1 - np.minimum(np.abs(u), 1) ** 2, 0.8)
    upper_outer = np.minimum(seam - outer_lift - upper, upper_inner - 0.3 * upper)
    lower_outer = np.maximum(seam + outer_drop + lower, lower_inner + 0.3 * lower)
    return Curves(
        upper_outer,
        upper_inner,
        lower_inner,
        lower_outer,
        width,
        float(lift + drop),
        float(drop),
        float(lift),
    )


def _ramp(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 where distance << 0, 1 where >> 0, a straight edge of width `softness` between."""
    return np.clip(distance / softness + 0.5, 0.0, 1.0)


def _mix(picture: np.ndarray, colour: np.ndarray, mask: np.ndarray) -> None:
    """Paint `colour` ((3,) or (H, W, 3)) over picture (H, W, 3) where mask (H, W) is 1."""
    picture += (colour - picture) * mask[..., None]


def draw_mouth(
    picture: np.ndarray,
    style: MouthStyle,
    curves: Curves,
    pose: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    direction: np.ndarray,
    key: np.ndarray,
    ambient: np.ndarray,
) -> None:
    """Draw the mouth over the skin in `picture` (H, W, 3) float32, in place; x (W,), y (H,) in half mouth widths."""
    pixel = float(x[1] - x[0])
    rows = y[:, None]
    lit = ambient + 0.75 * key
    inside = np.abs(x) < curves.width * 0.98
    gap = _ramp(rows - curves.upper_inner, 1.6 * pixel) * _ramp(curves.lower_inner - rows, 1.6 * pixel)
    gap = gap * inside * min(1.0, curves.aperture / (0.5 * pixel))
    if curves.aperture > 0.02:
        _mix(picture, _interior(style, curves, pose, x, rows, pixel) * lit, gap)
    _draw_lips(picture, style, curves, x, rows, pixel, direction, key, ambient, gap)


def _interior(
    style: MouthStyle, curves: Curves, pose: np.ndarray, x: np.ndarray, rows: np.ndarray, pixel: float
) -> np.ndarray:
    """Colours between the lips under white light: (H, W, 3) float32."""
    shape = (len(rows), len(x))
    depth = np.clip((rows - curves.upper_inner) / max(curves.aperture, 0.05), 0, 1)
    inner = np.empty((*shape, 3), np.float32)
    inner[...] = np.array([46.0, 18.0, 18.0], np.float32) * (0.45 + 0.55 * depth)[..., None]
    side = np.clip(1 - (np.abs(x) / (curves.width * 0.86)) ** 2, 0, 1)
    tongue_up = float(np.clip(pose[TONGUE], 0, 1))
    top = curves.drop * (0.45 - 0.62 * tongue_up) + 0.10
    tongue = _ramp(rows - (top + 0.25 * (x / curves.width) ** 2), 5 * pixel) * (
        np.abs(x) < 0.66 * curves.width
    )
    _mix(inner, style.tongue * 0.62 * (0.55 + 0.45 * side)[None, :, None], tongue * (0.5 + 0.5 * tongue_up))
    gaps = 0.88 + 0.12 * np.clip(np.abs(np.sin(x * np.pi / 0.235)) * 3.0, 0, 1)
    shadow = 0.42 + 0.58 * np.clip((rows - curves.upper_inner) / 0.16, 0, 1)
    jaw_edge = curves.drop - style.lower_teeth + 0.12 * (x / curves.width) ** 2
    lower = _ramp(rows - jaw_edge, 2.5 * pixel) * (np.abs(x) < 0.7 * curves.width)
    _mix(inner, (style.teeth * 0.72) * (gaps * (0.3 + 0.7 * side))[None, :, None] * shadow[..., None], lower)
    edge = style.teeth_length + 0.02 * np.cos(x * np.pi / 0.235) - 0.10 * x * x
    upper = _ramp(edge - rows, 2.2 * pixel)
    _mix(inner, style.teeth * (gaps * (0.25 + 0.75 * side))[None, :, None] * shadow[..., None], upper)
    tip = float(np.clip(pose[TIP], 0, 1))
    if tip > 0.05:
        out = np.exp(-((x / 0.52) ** 4)) * _ramp(
            rows - (style.teeth_length - 0.06 + 0.10 * (1 - tip)), 3 * pixel
        )
        _mix(inner, style.tongue * (0.65 + 0.35 * depth)[..., None], out * tip)
    return inner


def _draw_lips(
    picture: np.ndarray,
    style: MouthStyle,
    curves: Curves,
    x: np.ndarray,
    rows: np.ndarray,
    pixel: float,
    direction: np.ndarray,
    key: np.ndarray,
    ambient: np.ndarray,
    gap: np.ndarray,
) -> None:
    """Both lips, the shadow under the lower one and the dark line where they meet."""
    import cv2

    u = np.clip(x / curves.width, -1, 1)
    within = _ramp(1 - np.abs(x) / curves.width, 0.06)
    soft = (1.5 + 5 * (1 - style.edge)) * pixel
    under = np.exp(-(((rows - curves.lower_outer - 0.16) / 0.16) ** 2)) * np.clip(1 - u * u, 0, 1)
    picture *= (1 - 0.20 * under * max(0.0, -direction[1] + 0.25))[..., None]
    columns = np.broadcast_to((u + 1) * 127.5, (len(rows), len(x))).astype(np.float32)
    for outer, inner, is_upper in (
        (curves.upper_outer, curves.upper_inner, True),
        (curves.lower_outer, curves.lower_inner, False),
    ):
        thickness = np.maximum(np.abs(inner - outer), 1e-3)
        across = np.clip(
            (rows - outer) / (inner - outer + (1e-3 if is_upper else -1e-3)), 0, 1
        )  # 0 outer, 1 inner
        if is_upper:
            mask = _ramp(rows - outer, soft) * _ramp(inner - rows, 1.5 * pixel)
            ny = -0.15 + 0.95 * across**1.5
        else:
            mask = _ramp(outer - rows, soft) * _ramp(rows - inner, 1.5 * pixel)
            ny = 0.75 * (1 - across) - 0.65 * across**1.2
        nx = 0.5 * u * np.abs(u)
        nz = np.sqrt(np.clip(1 - ny * ny - nx * nx, 0.05, 1))
        lambert = np.clip(nx * direction[0] + ny * direction[1] + nz * direction[2], 0, None)
        colour = style.lip * (ambient * (0.9 - 0.2 * ny)[..., None] + key * lambert[..., None])
        grain = cv2.remap(style.wrinkles, columns, (across * 60).astype(np.float32), cv2.INTER_LINEAR)
        colour *= (1 + 0.045 * grain - 0.25 * across**6)[..., None]
        if not is_upper:
            shine = np.exp(-(((across - 0.62) / 0.16) ** 2)) * np.exp(-((u / 0.45) ** 2)) * (1 + 0.3 * grain)
            colour += (style.gloss * 90 * shine * max(0.1, -direction[1] + 0.3))[..., None] * key
        fade = mask * within * np.clip(thickness / (1.5 * pixel), 0, 1)
        _mix(picture, colour, fade * (1 - gap))
    seam = (curves.upper_inner + curves.lower_inner) / 2
    line = np.exp(-(((rows - seam) / (1.1 * pixel)) ** 2)) * _ramp(1.02 - np.abs(x) / curves.width, 0.06)
    picture *= (1 - 0.55 * line * (1 - gap))[..., None]
