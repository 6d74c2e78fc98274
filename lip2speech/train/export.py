"""Export of a trained lip model, its codec, stored voices and optional parts as one model folder."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.codecs.base import Codec
from lip2speech.components import check_prior_fingerprints
from lip2speech.config import to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.models.code_prior import KIND, code_prior_from_dict, read_code_prior
from lip2speech.models.speaker_encoder import SpeakerEncoder, XVectorSpeakerEncoder, load_speaker_encoder
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.vocoders import read_vocoder

MAX_CLIPS_PER_VOICE = 60


@dataclass(frozen=True)
class VoiceSource:
    """A stored voice: the mean speaker embedding of training clips of one speaker, or of all (`*`)."""

    name: str
    folder: str
    speaker: str


@dataclass(frozen=True)
class ExportConfig:
    """Contents of the model folder.

    Attributes:
        lip_model, codec_path: checkpoint folders written by training.
        model_card: text of README.md.
        speaker_encoder: checkpoint folder; empty for the long-term average spectrum.
        vocoder: checkpoint folder of a trained vocoder, empty for none. Its name can then be chosen as a
            vocoder; set inference.vocoder as well to make it the default.
        code_prior: checkpoint folder, empty for none.
    """

    lip_model: str
    codec_path: str
    model_card: str
    speaker_encoder: str = ""
    vocoder: str = ""
    code_prior: str = ""
    inference: PipelineConfig = field(default_factory=PipelineConfig)
    stored_voices: tuple[VoiceSource, ...] = ()


def export_model(config: ExportConfig, folder: Path, *, overwrite: bool = False) -> int:
    """Write the model folder (float16) after checking that its parts fit; returns the size of its weights.

    Raises:
        ValueError: the default voice is not stored, or a part is of another kind or does not fit the lip
            model.
    """
    lip, codec = checkpoint.load(config.lip_model), checkpoint.load(config.codec_path)
    built_codec = check_codec(config, lip)
    speaker_encoder = check_speaker_encoder(config, lip)
    voices = {voice.name: mean_embedding(voice, speaker_encoder) for voice in config.stored_voices}
    if config.inference.default_voice not in voices:
        raise ValueError(
            f"inference.default_voice is {config.inference.default_voice!r}, expected one of "
            f"{', '.join(voices)}."
        )
    tensors = prefixed("model", lip.tensors) | prefixed("codec", codec.tensors) | prefixed("voice", voices)
    values = {
        "kind": "lip2speech",
        "model": lip.config["model"],
        "transform": lip.config["transform"],
        "codec": {"name": codec.config["name"], "config": codec.config["codec"]},
        "mel": to_dict(MelConfig()),
        "inference": to_dict(config.inference),
    }
    if isinstance(speaker_encoder, XVectorSpeakerEncoder):
        tensors |= prefixed("speaker_encoder", speaker_encoder.encoder.state_dict())
        values["speaker_encoder"] = to_dict(speaker_encoder.encoder.config)
    if config.vocoder:
        vocoder = check_vocoder(config.vocoder, speaker_encoder)
        tensors |= prefixed("vocoder", vocoder.tensors)
        values["vocoder"] = {"name": vocoder.config["name"], "config": vocoder.config["vocoder"]}
    if config.code_prior:
        values[KIND], weights = code_prior_component(config.code_prior, built_codec, speaker_encoder)
        tensors |= prefixed(KIND, weights)
    tensors = {name: fp16_roundtrip(name, tensor) for name, tensor in tensors.items()}
    loaded = checkpoint.Checkpoint(values, tensors, config.model_card, folder)
    Lip2Speech.from_checkpoint(loaded, "cpu")  # raises unless the folder can be loaded
    checkpoint.save(folder, values, tensors, config.model_card, overwrite=overwrite, fp16=True)
    return (folder / checkpoint.WEIGHTS).stat().st_size


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names PREFIX.NAME."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def check_codec(config: ExportConfig, lip: checkpoint.Checkpoint) -> Codec:
    """The codec, which must be the one that the lip model was trained on; ValueError otherwise."""
    lip.require("lip-model")
    codec = load_codec(config.codec_path)
    expected, found = lip.config.get("codec"), code_fingerprint(codec)
    if expected not in (None, found):
        raise ValueError(
            f"{lip.folder} was trained on codes of codec {expected}, {config.codec_path} is {found}; give a "
            "codec with the same encoder and codebooks."
        )
    return codec


def check_speaker_encoder(config: ExportConfig, lip: checkpoint.Checkpoint) -> SpeakerEncoder:
    """The speaker encoder, which must be the one the lip model was trained with; ValueError otherwise."""
    encoder = load_speaker_encoder(config.speaker_encoder)
    if (expected := lip.config.get("speaker", "ltas")) != encoder.fingerprint:
        raise ValueError(
            f"{lip.folder} was trained with speaker encoder {expected}, speaker_encoder "
            f"{config.speaker_encoder or '(none)'} is {encoder.fingerprint}; give that of its training."
        )
    return encoder


def check_vocoder(folder: str, encoder: SpeakerEncoder) -> checkpoint.Checkpoint:
    """A vocoder's checkpoint; ValueError if it was trained with another speaker encoder."""
    vocoder = read_vocoder(folder)
    expected = vocoder.config.get("speaker", encoder.fingerprint)  # unknown for an imported vocoder
    if vocoder.config["vocoder"].get("speaker_dim") and expected != encoder.fingerprint:
        raise ValueError(
            f"{vocoder.folder} was trained with speaker encoder {expected}, the lip model with "
            f"{encoder.fingerprint}; train it with the same speaker_encoder."
        )
    return vocoder


def code_prior_component(
    folder: str, codec: Codec, encoder: SpeakerEncoder
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a code prior; CheckpointError if its codec or speaker encoder differs."""
    loaded = read_code_prior(folder)
    network = code_prior_from_dict(loaded.config[KIND], loaded.tensors)
    check_prior_fingerprints(network.config, loaded.config, codec, encoder)
    component = {
        "config": to_dict(network.config),
        "codec": code_fingerprint(deepcopy(codec).half().float()),  # after `fp16_roundtrip`
        "speaker": encoder.fingerprint,
    }
    return component, loaded.tensors


def fp16_roundtrip(name: str, tensor: Tensor) -> Tensor:
    """A tensor as a float16 folder returns it; CheckpointError if float16 cannot hold it."""
    stored = checkpoint.to_storable(name, tensor, fp16=True)
    return stored.float() if stored.is_floating_point() else stored


def mean_embedding(source: VoiceSource, encoder: SpeakerEncoder) -> Tensor:
    """Mean speaker embedding (S,) of training clips of one speaker, or of all."""
    clips = [c for c in read_clips([source.folder], "train") if source.speaker in (c.speaker, "*")]
    if not clips:
        raise ValueError(f"{source.folder} has no training clip of speaker {source.speaker!r}.")
    chosen = clips[:: max(1, len(clips) // MAX_CLIPS_PER_VOICE)]
    return encoder.mean(torch.stack([encoder.embed(c.wav()) for c in chosen]))
