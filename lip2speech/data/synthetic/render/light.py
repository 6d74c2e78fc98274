"""The light of a clip: one lamp and ambient light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Light:
    """One lamp and ambient light, RGB; `direction` points to the lamp: x right, y down, z to the camera."""

    direction: NDArray[Any]  # (3,), length 1
    key: NDArray[Any]  # (3,)
    ambient: NDArray[Any]  # (3,)

    def shade(self, nx: NDArray[Any], ny: NDArray[Any], nz: NDArray[Any]) -> NDArray[Any]:
        """Components of the normals (H, W) -> irradiance (H, W, 3), to be multiplied by the albedo."""
        x, y, z = self.direction
        lambert = np.clip(nx * x + ny * y + nz * z, 0.0, None)[..., None]
        irradiance: NDArray[Any] = self.ambient * (0.85 - 0.15 * ny)[..., None] + self.key * lambert
        return irradiance.astype(np.float32)

    def on_front(self, share: float) -> NDArray[Any]:
        """(3,): irradiance of a surface that faces the camera and receives `share` of the lamp."""
        irradiance: NDArray[Any] = self.ambient + share * self.key
        return irradiance.astype(np.float32)


def sample_light(rng: np.random.Generator) -> Light:
    """A random lamp in front of the face and mostly above it, warm or cool, hard or soft."""
    side, up = rng.normal(0.0, 0.5), rng.uniform(-0.1, 0.8)
    direction = np.array([np.sin(side), -np.sin(up), 0.9 * np.cos(side) * np.cos(up)])
    warmth = rng.normal(0.0, 0.06)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    hardness = rng.uniform(0.12, 0.7)
    level = rng.uniform(0.75, 1.15)
    key, ambient = level * hardness * tint * 1.15, level * (1 - hardness) / tint
    unit = direction / np.linalg.norm(direction)
    return Light(unit.astype(np.float32), key.astype(np.float32), ambient.astype(np.float32))
