"""Speaker encoders: implementations of `SpeakerEncoder`, and the choice between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.models.speaker_encoder.base import ExternalEmbeddings, SpeakerEncoder, read_embedding
from lip2speech.models.speaker_encoder.ltas import LTAS_DIM, LTASSpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import XVectorSpeakerEncoder, load_xvector, xvector_from_dict

__all__ = [
    "LTAS_DIM",
    "ExternalEmbeddings",
    "LTASSpeakerEncoder",
    "SpeakerEncoder",
    "XVectorSpeakerEncoder",
    "build_speaker_encoder",
    "load_speaker_encoder",
    "read_embedding",
]


def load_speaker_encoder(folder: str | Path) -> SpeakerEncoder:
    """The encoder in a folder written by `lip2speech train speaker`; "": the long-term average spectrum."""
    return XVectorSpeakerEncoder(load_xvector(folder)) if folder else LTASSpeakerEncoder()


def build_speaker_encoder(
    config: dict[str, Any] | None, tensors: dict[str, Tensor], dim: int
) -> SpeakerEncoder:
    """The speaker encoder of a model folder, or one without weights for embeddings of `dim` dimensions.

    Raises:
        CheckpointError: config and weights do not fit.
        ValueError: the heads take embeddings of another size.
    """
    if config is None:
        return LTASSpeakerEncoder() if dim == LTAS_DIM else ExternalEmbeddings(dim)
    encoder = XVectorSpeakerEncoder(xvector_from_dict(config, tensors))
    if encoder.dim != dim:
        raise ValueError(
            f"the speaker encoder's embeddings have {encoder.dim} dimensions, the heads take {dim}; "
            "they do not fit."
        )
    return encoder
