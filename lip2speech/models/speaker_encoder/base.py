"""The speaker encoder interface: from a recording to the speaker embedding that conditions the heads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lip2speech.constants import SAMPLE_RATE

MIN_SECONDS = 0.5
MIN_PEAK = 1e-3


class SpeakerEncoder(Protocol):
    """What every speaker encoder provides. The last three numbers of an embedding are `pitch_quantiles`.

    Shape:
        embed: wav (T_a,) at 16 kHz -> (S,)
        mean: (N, S) -> (S,)
        warp_vocal_tract: embedding (S,), the log-mel (n_mels, T) it was computed from, factor -> (S,)
    """

    @property
    def dim(self) -> int:
        """S."""

    @property
    def fingerprint(self) -> str:
        """Equal for two encoders that return the same embeddings."""

    def embed(self, wav: Tensor) -> Tensor:
        """The embedding of a recording; ValueError if it is shorter than half a second, or silent."""

    def mean(self, embeddings: Tensor) -> Tensor:
        """The average speaker of several embeddings."""

    def warp_vocal_tract(self, embedding: Tensor, mel: Tensor, factor: float) -> Tensor:
        """The same speaker with spectrum and F0 scaled by `factor` (VTLP); unvoiced stays unvoiced."""


class ExternalEmbeddings:
    """Embeddings of an encoder that is not available here: they are read from files (see `read_embedding`).

    Args:
        dim: S.
        embedding: (S,) returned by `embed` for any recording, so that its speaker can be enrolled.
    """

    def __init__(self, dim: int, embedding: Tensor | None = None):
        self.dim, self.embedding = dim, embedding
        self.fingerprint = f"external-{dim}"

    def embed(self, wav: Tensor) -> Tensor:
        """The given embedding (S,); ValueError if there is none."""
        if self.embedding is not None:
            return self.embedding
        raise ValueError(
            f"this model takes speaker embeddings of {self.dim} dimensions from an external encoder; give "
            "one as FILE.npy (`lip2speech voice enroll --embedding` stores it with a voice)."
        )

    def mean(self, embeddings: Tensor) -> Tensor:
        """(N, S) -> (S,)."""
        return embeddings.mean(0)

    def warp_vocal_tract(self, embedding: Tensor, mel: Tensor, factor: float) -> Tensor:
        """ValueError: this needs the encoder."""
        raise ValueError("speaker embeddings of an external encoder cannot be warped (VTLP).")


def check_recording(wav: Tensor, sample_rate: int = SAMPLE_RATE) -> None:
    """ValueError unless wav is mono (T_a,) at 16 kHz, at least half a second long, and not silent."""
    if sample_rate != SAMPLE_RATE or wav.ndim != 1:
        raise ValueError(
            f"a recording must be (T_a,) at {SAMPLE_RATE} Hz, got {tuple(wav.shape)} at {sample_rate} Hz."
        )
    if wav.numel() < MIN_SECONDS * sample_rate:
        seconds = wav.numel() / sample_rate
        raise ValueError(f"a voice needs {MIN_SECONDS} s of speech, got {seconds:.2f} s; record more.")
    if not wav.abs().max() > MIN_PEAK:  # refuses NaN too
        raise ValueError(f"a voice needs audible speech, the peak is {wav.abs().max():.1g}; record louder.")


def shift_pitch(quantiles: Tensor, factor: float) -> Tensor:
    """F0 quantiles (3,) scaled by `factor`; all zeros (unvoiced) stay zeros."""
    return torch.where(quantiles.any(), quantiles + math.log2(factor), quantiles)


def read_embedding(path: str | Path, dim: int) -> Tensor:
    """A speaker embedding (S,) float32 of an external encoder from a .npy file.

    Raises:
        ValueError: there is no such file, or it does not hold `dim` finite floating-point numbers.
    """
    try:
        # memory-mapped, so that a file that lies about its size is refused
        embedding = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(embedding, np.ndarray) or embedding.size != dim:
            raise ValueError(f"it holds {getattr(embedding, 'shape', 'several arrays')}")
        if not np.issubdtype(embedding.dtype, np.floating) or not np.isfinite(embedding).all():
            raise ValueError(f"it holds {embedding.dtype} that is not finite or not floating point")
    except (OSError, ValueError, EOFError) as error:
        # numpy's message for a pickle names the option that would execute it
        plain = not any(word in str(error) for word in ("pickle", "object"))
        reason = error if plain else "it holds no plain numbers"
        raise ValueError(f"{path}: not a speaker embedding of {dim} dimensions ({reason}).") from None
    return torch.from_numpy(np.array(embedding, np.float32).reshape(dim))
