"""Voices as vectors: the plugs that make one of a recording, and the choice of a model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.speaker.base import GivenVectors, SpeakerModel, read_vector
from lip2speech.speaker.encoder import Encoded, encoder_from_dict, load_speaker_encoder
from lip2speech.speaker.spectrum import SPECTRUM_DIM, Spectrum

__all__ = [
    "SPECTRUM_DIM",
    "Encoded",
    "GivenVectors",
    "SpeakerModel",
    "Spectrum",
    "load_speaker_model",
    "read_vector",
    "speaker_model_from",
]


def load_speaker_model(folder: str | Path) -> SpeakerModel:
    """The encoder in a folder written by `lip2speech train speaker`; "": the long-term spectrum."""
    return Encoded(load_speaker_encoder(folder)) if folder else Spectrum()


def speaker_model_from(config: dict[str, Any] | None, tensors: dict[str, Tensor], dim: int) -> SpeakerModel:
    """What a system's folder hears voices with: its encoder, else what gives `dim` numbers without one.

    Raises:
        CheckpointError: config and weights do not fit.
        ValueError: the heads take vectors of another size.
    """
    if config is None:
        return Spectrum() if dim == SPECTRUM_DIM else GivenVectors(dim)
    encoded = Encoded(encoder_from_dict(config, tensors))
    if encoded.dim != dim:
        raise ValueError(
            f"the speaker encoder gives vectors of {encoded.dim} numbers, the heads take {dim}; "
            "they do not fit."
        )
    return encoded
