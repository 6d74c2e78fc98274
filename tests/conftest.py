"""Fixtures that many tests share: small, made here or drawn by us, and free of any real person.

`clip` is the sample video of a drawn face, `roi` a drawn mouth, `tone` a pure tone, `tiny_model` and
`tiny_codec` the real classes with very small numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lip2speech.codec import Codec, MelCodec
    from lip2speech.model import LipModel

M = TypeVar("M", bound="nn.Module")
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
    return make_codec()


@pytest.fixture
def tiny_model() -> LipModel:
    """A LipModel with a front end of two layers, and heads that fit `tiny_codec`."""
    return make_model()


@pytest.fixture(scope="session")
def tiny_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of `tiny_model` and `tiny_codec` that `convert --model` takes; it speaks noise."""
    import torch

    from lip2speech import checkpoint
    from lip2speech.config import to_dict
    from lip2speech.frontend.transforms import Transform
    from lip2speech.mel import MelConfig
    from lip2speech.pipeline import PipelineConfig

    model, codec = make_model(), make_codec()
    config = {
        "kind": "lip2speech",
        "model": to_dict(model.config),
        "transform": to_dict(Transform()),
        "codec": {"name": "melcodec", "config": to_dict(codec.config)},
        "mel": to_dict(MelConfig()),
        "pipeline": to_dict(PipelineConfig(voice="nobody")),
    }
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"codec.{name}": tensor for name, tensor in codec.state_dict().items()}
    tensors["voice.nobody"] = torch.zeros(model.config.heads.speaker_dim)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save(folder, config, tensors, "# Noise\n", half=True)
    return folder


def make_codec() -> MelCodec:
    from lip2speech.codec import MelCodec, MelCodecConfig
    from lip2speech.config import from_dict

    numbers = {
        "encoder": {"width": 16, "blocks": [1, 1]},
        "quantizer": {"n_q": 2, "codebook_size": 16},
        "decoder": {"n_filters": 2, "n_residual_layers": 1},
    }
    return seeded(lambda: MelCodec(from_dict(MelCodecConfig, numbers)))


def make_model() -> LipModel:
    from lip2speech.config import from_dict
    from lip2speech.model import LipModel, ModelConfig

    frontend = {
        "trunk_width": 4,
        "encoder_layers": 2,
        "embed_dim": 16,
        "ffn_dim": 32,
        "heads": 2,
        "conv_pos": 16,
    }
    heads = {"hidden": 16, "blocks": 1, "n_units": 8, "n_q": 2, "codebook_size": 16}
    return seeded(lambda: LipModel(from_dict(ModelConfig, {"frontend": frontend, "heads": heads})))


def seeded(build: Callable[[], M]) -> M:
    """The same random weights in every test, and no trace in the caller's random numbers."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()
