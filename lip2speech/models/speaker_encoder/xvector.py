"""Who speaks: a recording becomes a unit vector that lies near other recordings of the same voice.

Convolutions over log-mel with statistics pooling (x-vectors, Snyder et al. 2018), whose statistics are taken
over the frames that matter (Okabe et al. 2018, "Attentive statistics pooling"). It is trained to tell voices
apart (`train/speaker.py`). With the register beside it, the vector tells the heads of a voice (`Encoded`);
another encoder judges whether speech sounds like the person it should (`evaluation/similarity.py`). Knows
nothing of consent.
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
from lip2speech.models.speaker_encoder.base import check_recording, raise_pitch
from lip2speech.restore import restore

KIND = "speaker-encoder"
LEAST_FRAMES = 50  # half a second
PEAK = 0.5  # of a recording before it is heard


@dataclass(frozen=True)
class XVectorConfig:
    """Sizes. dilations: of the blocks between the first convolution and the pooling, one each."""

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
        return x + self.out(F.relu(self.norm(self.conv(x))))


class XVectorNet(nn.Module):
    """Log-mel to a unit vector.

    The level, each clip's mean over time and bands, is taken off first: it tells of the microphone.

    Shape:
        forward: mel (B, n_mels, T) -> (B, dim) of length 1
        embed: wav (T_a,) at 16 kHz -> (dim,) of length 1
    """

    def __init__(self, config: XVectorConfig | None = None):
        super().__init__()
        self.config = c = config or XVectorConfig()
        self.inp = nn.Conv1d(c.mel.n_mels, c.channels, 5, padding=2)
        self.blocks = nn.ModuleList(XVectorBlock(c.channels, dilation) for dilation in c.dilations)
        self.wide = nn.Conv1d(c.channels, c.pool_dim, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(c.pool_dim, c.attention_dim, 1), nn.Tanh(), nn.Conv1d(c.attention_dim, c.pool_dim, 1)
        )
        self.norm = nn.BatchNorm1d(2 * c.pool_dim)
        self.out = nn.Linear(2 * c.pool_dim, c.dim)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.relu(self.inp((mel - mel.mean((1, 2), keepdim=True)) / 2.0))
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.wide(x))
        weights = self.attention(x).softmax(-1)
        mean = (weights * x).sum(-1)
        deviation = ((weights * x.square()).sum(-1) - mean.square()).clamp_min(1e-6).sqrt()
        return F.normalize(self.out(self.norm(torch.cat([mean, deviation], 1))), dim=-1)

    @torch.no_grad()
    def embed(self, wav: Tensor) -> Tensor:
        """The vector (dim,) of a recording (T_a,) at 16 kHz. ValueError: shorter than half a second."""
        mel = LogMel(self.config.mel)(wav[None, None])
        if mel.shape[-1] < LEAST_FRAMES:
            seconds = len(wav) / SAMPLE_RATE
            raise ValueError(f"who speaks is told from half a second and more, got {seconds:.2f} s.")
        return self(mel)[0]


class XVectorSpeakerEncoder:
    """A voice as a trained encoder hears it, and its register: (dim + 3,). See `base.SpeakerEncoder`.

    The unit vector is stretched to numbers of the order of one, as the heads like them.
    """

    def __init__(self, encoder: XVectorNet):
        self.encoder = encoder.eval()
        self.dim = encoder.config.dim + len(QUANTILES)
        self.stretch = math.sqrt(encoder.config.dim)
        self.fingerprint = encoder_fingerprint(encoder)

    @torch.no_grad()
    def embed(self, wav: Tensor) -> Tensor:
        """(T_a,) at 16 kHz -> (S,) float32."""
        check_recording(wav)
        level = wav * (PEAK / wav.abs().max())
        return torch.cat([self.stretch * self.encoder.embed(level), pitch_quantiles(level)])

    def mean(self, vectors: Tensor) -> Tensor:
        """Between voices lies a voice: as long a vector as theirs."""
        middle = vectors.mean(0)
        heard = self.stretch * F.normalize(middle[: -len(QUANTILES)], dim=0)
        return torch.cat([heard, middle[-len(QUANTILES) :]])

    @torch.no_grad()
    def shorten_tract(self, vector: Tensor, mel: Tensor, factor: float) -> Tensor:
        moved = warp_mel(mel.float(), factor, self.encoder.config.mel)
        heard = self.stretch * self.encoder(moved[None])[0]
        return torch.cat([heard, raise_pitch(vector[-len(QUANTILES) :], factor)])


def load_speaker_encoder(folder: str | Path) -> XVectorNet:
    """A trained encoder in eval mode. CheckpointError: missing or damaged folder, or something else in it."""
    loaded = checkpoint.load(Path(folder))
    if loaded.config.get("kind") != KIND:
        raise checkpoint.CheckpointError(
            f"{folder} holds {loaded.config.get('kind')!r}, expected a {KIND}; make one with "
            "`lip2speech train speaker`."
        )
    try:
        return encoder_from_dict(loaded.config["encoder"], loaded.tensors)
    except (KeyError, TypeError) as error:
        raise checkpoint.CheckpointError(f"{folder}: its config is wrong ({error}).") from error


def encoder_from_dict(config: dict[str, Any], tensors: dict[str, Tensor]) -> XVectorNet:
    """The encoder of plain values and its weights, in eval mode. CheckpointError: they do not fit."""
    try:
        numbers = from_dict(XVectorConfig, config, "encoder")
        return restore(lambda: XVectorNet(numbers), numbers, tensors, "speaker encoder").eval()
    except checkpoint.CheckpointError:
        raise
    except ValueError as error:
        raise checkpoint.CheckpointError(f"the speaker encoder's config is wrong ({error}).") from error


def encoder_fingerprint(encoder: XVectorNet) -> str:
    """A digest of the weights as a folder of float16 keeps them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(name.encode() + tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
