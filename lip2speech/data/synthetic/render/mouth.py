"""The shape of a mouth: how one speaker's lips look, and where their edges are in a frame.

Each curve of a lip (outer and inner edge) is a function of x, so that painting compares rows with columns: a
few dozen small array operations per frame. Lengths are in half mouth widths at rest (1.0 = from the middle to
a corner), x right, y down, 0 at the middle of the closed lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.visemes import PARAMETERS

OPENING, SPREAD, ROUNDING, JAW, TUCK, TONGUE, TIP = range(len(PARAMETERS))


@dataclass(frozen=True)
class MouthStyle:
    """How one speaker's mouth looks and moves."""

    half_width: float  # eye distances
    x: float  # of the middle, eye distances
    y: float
    upper: float  # thickness of the lips at rest, half mouth widths
    lower: float
    bow: float  # depth of the cupid's bow
    corner: float  # corners below (+) or above (-) the middle
    slant: float
    effort: float  # amplitude of the articulation
    narrowing: float  # relative decrease of the width at full rounding
    rest: float  # opening at rest
    upper_share: float  # share of the opening by the upper lip
    lip: NDArray[Any]  # (3,) color under white light, 0..255
    teeth: NDArray[Any]  # (3,)
    tongue: NDArray[Any]  # (3,)
    teeth_length: float  # lower edge of the upper teeth, half mouth widths below the rest line
    lower_teeth: float  # upper edge of the lower teeth above the lower lip's inner edge
    edge: float  # sharpness of the lip's border, 0..1
    gloss: float
    wrinkles: NDArray[Any]  # (64, 256) float32, mean 0

    @classmethod
    def sample(cls, rng: np.random.Generator, *, y: float, skin: NDArray[Any]) -> MouthStyle:
        """A random mouth on skin of the given color (3,)."""
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
    """The lips of one frame at columns x (N,): outer and inner edges (N,), and their sizes."""

    upper_outer: NDArray[Any]
    upper_inner: NDArray[Any]
    lower_inner: NDArray[Any]
    lower_outer: NDArray[Any]
    width: float  # half width of the lips
    aperture: float  # opening between the inner edges in the middle
    drop: float  # of the lower lip
    lift: float  # of the upper lip


MAX_APERTURE = 0.68  # half mouth widths, at opening 1 and effort 1: about 17 mm on an adult
SPREADING = 0.14  # half mouth widths by which a full smile widens the mouth
INNER_SHARE = 0.90  # of the width, where the lips can part; rounding reduces it


def lip_curves(style: MouthStyle, pose: NDArray[Any], x: NDArray[Any]) -> Curves:
    """Edges of the lips for mouth parameters `pose` (7,) at columns x (N,)."""
    opening = style.effort * pose[OPENING] + style.rest * (1 - min(1.0, 4 * abs(pose[OPENING])))
    rounding, tuck = (float(np.clip(pose[i], 0, 1)) for i in (ROUNDING, TUCK))
    aperture = MAX_APERTURE * max(0.0, opening)
    lift = style.upper_share * aperture + 0.07 * tuck
    drop = (1 - style.upper_share) * aperture * (1 - 0.75 * tuck)
    width = _half_width(style, pose)
    u = np.clip(x / width, -1.0, 1.0)
    seam = style.slant * x + style.corner * (u * u - 0.3) - 0.035 * style.bow * np.cos(3.2 * u) * (1 - u * u)
    v = np.clip(np.abs(x) / (width * (INNER_SHARE - 0.24 * rounding)), 0.0, 1.0)
    gape = np.power(1 - np.power(v, 2.0 + 0.5 * rounding), 0.8 - 0.25 * rounding)
    upper, lower = _thickness(style, pose, u, opening, rounding, tuck)
    upper_inner, lower_inner = seam - lift * gape, seam + drop * gape
    upper_outer = seam - 0.75 * lift * np.power(1 - u * u, 0.9) - upper
    lower_outer = seam + drop * np.power(1 - u * u, 0.8) + lower
    return Curves(
        upper_outer=np.minimum(upper_outer, upper_inner - 0.3 * upper),
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=np.maximum(lower_outer, lower_inner + 0.3 * lower),
        width=width,
        aperture=float(lift + drop),
        drop=float(drop),
        lift=float(lift),
    )


def _half_width(style: MouthStyle, pose: NDArray[Any]) -> float:
    """Distance from the middle to a corner; a dropped jaw pulls the corners in."""
    spread = float(pose[SPREAD])
    change = SPREADING * max(0.0, spread) - style.narrowing * max(0.0, -spread)
    return 1.0 + style.effort * change - 0.05 * float(pose[JAW])


def _thickness(
    style: MouthStyle, pose: NDArray[Any], u: NDArray[Any], opening: float, rounding: float, tuck: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Visible thickness of the upper and the lower lip at u (N,): thinner if pressed, stretched or tucked."""
    pressed = 1 - 0.9 * min(max(0.0, -opening), 0.6)
    stretched = 1 - 0.10 * pose[SPREAD] - 0.12 * max(0.0, opening)
    shape = pressed * stretched * np.power(np.clip(1 - u * u, 0, 1), 0.72)
    dent = style.bow * (1 - 0.6 * rounding) * np.exp(-((u / 0.16) ** 2))
    peaks = 1 + 0.35 * style.bow * np.exp(-(((np.abs(u) - 0.26) / 0.17) ** 2))
    upper = style.upper * (1 + 0.20 * rounding) * shape * (peaks - 0.55 * dent)
    lower = style.lower * (1 + 0.16 * rounding) * (1 - 0.45 * tuck) * shape
    return upper, lower
