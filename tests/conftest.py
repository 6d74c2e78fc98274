"""Fixtures that many tests share: small, made here or drawn by us, and free of any real person.

`clip` is the sample video of a drawn face, `roi` a drawn mouth, `tone` a pure tone, `tiny_model` and
`tiny_codec` the real classes with very small numbers.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from lip2speech.codec import Codec
    from lip2speech.model import LipModel

ROOT = Path(__file__).parents[1]
TONE_HZ = 440

os.environ.setdefault("GLOG_minloglevel", "3")  # mediapipe's chatter would hide a test's own words


@pytest.fixture(scope="session")
def clip() -> Path:
    """An mp4 of one drawn face that says a sentence, without sound."""
    return ROOT / "docs" / "sample.mp4"


@pytest.fixture(scope="session")
def clip_text() -> str:
    """The words that the face of `clip` says."""
    return (ROOT / "docs" / "sample.txt").read_text().strip()


@pytest.fixture
def roi() -> np.ndarray:
    """A mouth that opens and closes, drawn as an ellipse: (25, 96, 96) uint8."""
    y, x = np.mgrid[:96, :96].astype(np.float32)
    openings = 4 + 10 * (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(25) / 12))
    lips = [((x - 48) / 22) ** 2 + ((y - 48) / opening) ** 2 for opening in openings]
    return np.stack([np.where(d < 0.6, 30, np.where(d < 1.0, 110, 170)).astype(np.uint8) for d in lips])


@pytest.fixture
def tone() -> Tensor:
    """One second of a 440 Hz sine at 16 kHz: (1, 1, 16000) float32."""
    import torch

    time = torch.arange(16_000) / 16_000
    return (0.5 * torch.sin(2 * math.pi * TONE_HZ * time))[None, None]


@pytest.fixture
def tiny_codec() -> Codec:
    """A MelCodec of some thousand weights: 50 Hz, 2 codebooks of 16."""
    import torch

    from lip2speech.codec import MelCodecConfig, build_codec
    from lip2speech.config import from_dict

    torch.manual_seed(0)
    numbers = {
        "encoder": {"width": 16, "blocks": [1, 1]},
        "quantizer": {"n_q": 2, "codebook_size": 16},
        "decoder": {"n_filters": 2, "n_residual_layers": 1},
    }
    return build_codec(from_dict(MelCodecConfig, numbers)).eval()


@pytest.fixture
def tiny_model() -> LipModel:
    """A LipModel with a front end of two layers, and heads that fit `tiny_codec`."""
    import torch

    from lip2speech.config import from_dict
    from lip2speech.model import LipModel, ModelConfig

    torch.manual_seed(0)
    numbers = {
        "frontend": {
            "trunk_width": 4, "encoder_layers": 2, "embed_dim": 16, "ffn_dim": 32, "heads": 2, "conv_pos": 16,
        },
        "heads": {"hidden": 16, "blocks": 1, "n_units": 8, "n_q": 2, "codebook_size": 16},
    }  # fmt: skip
    return LipModel(from_dict(ModelConfig, numbers)).eval()
