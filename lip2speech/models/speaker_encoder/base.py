"""The speaker socket: a recording becomes the vector by which the heads know a voice."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

MIN_SECONDS = 0.5
MIN_PEAK = 1e-3


class SpeakerEncoder(Protocol):
    """What every way of telling a voice offers. The last three numbers of a vector are `pitch_quantiles`.

    Shape:
        embed:         wav (T_a,) at 16 kHz -> (S,)
        mean:          (N, S) -> (S,)
        shorten_tract: vector (S,), the log-mel (n_mels, T) it was made of, factor -> (S,)
    """

    @property
    def dim(self) -> int:
        """S."""

    @property
    def fingerprint(self) -> str:
        """The same for two that give the same vectors."""

    def embed(self, wav: Tensor) -> Tensor:
        """The voice of a recording. ValueError: it is shorter than half a second, or silent."""

    def mean(self, vectors: Tensor) -> Tensor:
        """The voice between some."""

    def shorten_tract(self, vector: Tensor, mel: Tensor, factor: float) -> Tensor:
        """The same voice with spectrum and pitch `factor` times as high; no pitch stays none."""


class ExternalEmbeddings:
    """Vectors of an encoder that is not here: they come from files alone (see `read_vector`).

    vector: (dim,) of the voice whose recordings will be shown, so that it can be enrolled.
    """

    def __init__(self, dim: int, vector: Tensor | None = None):
        self.dim, self.vector = dim, vector
        self.fingerprint = f"given-{dim}"

    def embed(self, wav: Tensor) -> Tensor:
        if self.vector is not None:
            return self.vector
        raise ValueError(
            f"this model takes vectors of {self.dim} numbers from another encoder; give one as FILE.npy "
            "(`lip2speech voice enroll --vector` keeps it with a voice)."
        )

    def mean(self, vectors: Tensor) -> Tensor:
        return vectors.mean(0)

    def shorten_tract(self, vector: Tensor, mel: Tensor, factor: float) -> Tensor:
        raise ValueError("vectors of another encoder cannot be told of another vocal tract.")


def check_recording(wav: Tensor, sample_rate: int = 16000) -> None:
    """ValueError: not mono (T_a,) at 16 kHz, shorter than half a second, or silent."""
    if sample_rate != 16000 or wav.ndim != 1:
        raise ValueError(f"a voice must be (T_a,) at 16000 Hz, got {tuple(wav.shape)} at {sample_rate} Hz.")
    if wav.numel() < MIN_SECONDS * sample_rate:
        seconds = wav.numel() / sample_rate
        raise ValueError(f"a voice needs {MIN_SECONDS} s of speech, got {seconds:.2f} s; record more.")
    if not wav.abs().max() > MIN_PEAK:  # so written that NaN is refused as well
        raise ValueError(f"a voice needs audible speech, the peak is {wav.abs().max():.1g}; record louder.")


def raise_pitch(quantiles: Tensor, factor: float) -> Tensor:
    """Pitch quantiles (3,) `factor` times as high; no pitch stays none."""
    return torch.where(quantiles.any(), quantiles + math.log2(factor), quantiles)


def read_vector(path: str, size: int) -> Tensor:
    """A voice vector (S,) of another encoder from a .npy file. ValueError: no such file, or not one."""
    try:
        vector = np.load(
            path, mmap_mode="r", allow_pickle=False
        )  # a file that lies about its size is refused
        if not isinstance(vector, np.ndarray) or vector.size != size:
            raise ValueError(f"it holds {getattr(vector, 'shape', 'several arrays')}")
        if not np.issubdtype(vector.dtype, np.floating) or not np.isfinite(vector).all():
            raise ValueError(f"it holds {vector.dtype}, and not finite numbers alone")
    except (OSError, ValueError, EOFError) as error:
        # numpy's own words for a pickle name the switch that would run it
        plain = not any(word in str(error) for word in ("pickle", "object"))
        reason = error if plain else "it holds no plain numbers"
        raise ValueError(f"{path}: is no voice vector of {size} numbers ({reason}).") from None
    return torch.from_numpy(np.array(vector, np.float32).reshape(size))
