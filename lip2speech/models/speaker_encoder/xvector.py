"""A trained speaker encoder: unit vectors that are close for recordings of the same speaker.

Convolutions over log-mel with statistics pooling (x-vectors, Snyder et al. 2018) weighted by attention (Okabe
et al. 2018, "Attentive statistics pooling"), trained to classify speakers (`train/speaker/task.py`). With F0
quantiles appended, the vector is the speaker embedding that conditions the heads (`XVectorSpeakerEncoder`);
a second, independently trained network measures speaker similarity (`evaluation/speaker_similarity.py`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.audio.mel import LogMel, MelConfig, warp_mel
from lip2speech.audio.pitch import QUANTILES, pitch_quantiles
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE
from lip2speech.models.speaker_encoder.base import check_recording, shift_pitch

KIND = "speaker-encoder"
MIN_FRAMES = 50  # half a second
PEAK_LEVEL = 0.5  # recordings are scaled to this peak


@dataclass(frozen=True)
class XVectorConfig:
    """Sizes.

    Args:
        channels: of the convolutions.
        dilations: of the blocks between the first convolution and the pooling, one each.
        pool_dim: channels that are pooled.
        attention_dim: hidden size of the pooling's attention.
        dim: of the vector.
        mel: of the input.
    """

    channels: int = 192
    dilations: tuple[int, ...] = (2, 3, 4)
    pool_dim: int = 384
    attention_dim: int = 64
    dim: int = 192
    mel: MelConfig = field(default_factory=MelConfig)


class XVectorBlock(nn.Module):
    """Residual dilated convolution over time, (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm1d(channels)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        out: Tensor = x + self.out(F.relu(self.norm(self.conv(x))))
        return out


class XVectorNet(nn.Module):
    """Log-mel to a unit vector.

    The level (each clip's mean over time and bands) is subtracted first: it depends on the microphone.

    Shape:
        forward: mel (B, n_mels, T) -> (B, dim) of length 1
        embed: wav (T_a,) at 16 kHz -> (dim,) of length 1
    """

    def __init__(self, config: XVectorConfig | None = None):
        super().__init__()
        self.config = c = config or XVectorConfig()
        self.in_proj = nn.Conv1d(c.mel.n_mels, c.channels, 5, padding=2)
        self.blocks = nn.ModuleList(XVectorBlock(c.channels, dilation) for dilation in c.dilations)
        self.pool_proj = nn.Conv1d(c.channels, c.pool_dim, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(c.pool_dim, c.attention_dim, 1), nn.Tanh(), nn.Conv1d(c.attention_dim, c.pool_dim, 1)
        )
        self.norm = nn.BatchNorm1d(2 * c.pool_dim)
        self.out = nn.Linear(2 * c.pool_dim, c.dim)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, n_mels, T) -> (B, dim)."""
        x = F.relu(self.in_proj((mel - mel.mean((1, 2), keepdim=True)) / 2.0))
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.pool_proj(x))
        weights = self.attention(x).softmax(-1)
        mean = (weights * x).sum(-1)
        std = ((weights * x.square()).sum(-1) - mean.square()).clamp_min(1e-6).sqrt()
        return F.normalize(self.out(self.norm(torch.cat([mean, std], 1))), dim=-1)

    @torch.no_grad()
    def embed(self, wav: Tensor) -> Tensor:
        """The vector (dim,) of a recording (T_a,) at 16 kHz; ValueError if shorter than half a second."""
        mel = LogMel(self.config.mel)(wav[None, None])
        if mel.shape[-1] < MIN_FRAMES:
            seconds = len(wav) / SAMPLE_RATE
            raise ValueError(
                f"a speaker embedding needs half a second of speech or more, got {seconds:.2f} s."
            )
        out: Tensor = self(mel)[0]
        return out


class XVectorSpeakerEncoder:
    """Speaker embeddings (dim + 3,): the vector of a trained network, then F0 quantiles.

    The unit vector is scaled by sqrt(dim), so that its elements are of order one. See `base.SpeakerEncoder`.
    """

    def __init__(self, encoder: XVectorNet):
        self.encoder = encoder.eval()
        self.dim = encoder.config.dim + len(QUANTILES)
        self.scale = math.sqrt(encoder.config.dim)
        self.fingerprint = xvector_fingerprint(encoder)

    @torch.no_grad()
    def embed(self, wav: Tensor) -> Tensor:
        """(T_a,) at 16 kHz -> (S,) float32."""
        check_recording(wav)
        wav = wav * (PEAK_LEVEL / wav.abs().max())
        return torch.cat([self.scale * self.encoder.embed(wav), pitch_quantiles(wav)])

    def mean(self, embeddings: Tensor) -> Tensor:
        """(N, S) -> (S,), with the mean vector scaled back to the length of a single one."""
        mean = embeddings.mean(0)
        vector = self.scale * F.normalize(mean[: -len(QUANTILES)], dim=0)
        return torch.cat([vector, mean[-len(QUANTILES) :]])

    @torch.no_grad()
    def warp_vocal_tract(self, embedding: Tensor, mel: Tensor, factor: float) -> Tensor:
        """(S,), log-mel (n_mels, T) -> (S,), by encoding the warped mel."""
        warped = warp_mel(mel.float(), factor, self.encoder.config.mel)
        vector = self.scale * self.encoder(warped[None])[0]
        return torch.cat([vector, shift_pitch(embedding[-len(QUANTILES) :], factor)])


def load_xvector(folder: str | Path) -> XVectorNet:
    """A trained network in eval mode.

    Raises:
        CheckpointError: a missing or damaged folder, or one that holds something else.
    """
    hint = "train one with `lip2speech train speaker`"
    loaded = checkpoint.load(folder, KIND, keys=("encoder",), hint=hint)
    return xvector_from_dict(loaded.config["encoder"], loaded.tensors)


def xvector_from_dict(config: dict[str, Any], tensors: dict[str, Tensor]) -> XVectorNet:
    """The network of a config as plain values, with these weights, in eval mode.

    Raises:
        CheckpointError: they do not fit.
    """
    try:
        sizes = from_dict(XVectorConfig, config, "encoder")
        return checkpoint.build_and_load(lambda: XVectorNet(sizes), sizes, tensors, "speaker encoder").eval()
    except checkpoint.CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"the speaker encoder's config is wrong ({error}).") from error


def xvector_fingerprint(encoder: XVectorNet) -> str:
    """A digest of the weights as float16, the precision of exported models."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(name.encode() + tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
