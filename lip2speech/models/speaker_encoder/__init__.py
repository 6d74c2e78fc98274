"""Voices as vectors: the plugs that make one of a recording, and the choice of a model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.models.speaker_encoder.base import ExternalEmbeddings, SpeakerEncoder, read_vector
from lip2speech.models.speaker_encoder.ltas import SPECTRUM_DIM, LTASSpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import (
    XVectorSpeakerEncoder,
    encoder_from_dict,
    load_speaker_encoder,
)

__all__ = [
    "SPECTRUM_DIM",
    "ExternalEmbeddings",
    "LTASSpeakerEncoder",
    "SpeakerEncoder",
    "XVectorSpeakerEncoder",
    "load_speaker_model",
    "read_vector",
    "speaker_model_from",
]


def load_speaker_model(folder: str | Path) -> SpeakerEncoder:
    """The encoder in a folder written by `lip2speech train speaker`; "": the long-term spectrum."""
    return XVectorSpeakerEncoder(load_speaker_encoder(folder)) if folder else LTASSpeakerEncoder()


def speaker_model_from(config: dict[str, Any] | None, tensors: dict[str, Tensor], dim: int) -> SpeakerEncoder:
    """What a system's folder hears voices with: its encoder, else what gives `dim` numbers without one.

    Raises:
        CheckpointError: config and weights do not fit.
        ValueError: the heads take vectors of another size.
    """
    if config is None:
        return LTASSpeakerEncoder() if dim == SPECTRUM_DIM else ExternalEmbeddings(dim)
    encoded = XVectorSpeakerEncoder(encoder_from_dict(config, tensors))
    if encoded.dim != dim:
        raise ValueError(
            f"the speaker encoder gives vectors of {encoded.dim} numbers, the heads take {dim}; "
            "they do not fit."
        )
    return encoded
