"""A trained lip model, codec, voices and perhaps a vocoder in one folder that speaks on its own."""

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
from lip2speech.components import check_learned
from lip2speech.config import to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.models.code_prior import KIND, likelihood_from_dict, read_likelihood
from lip2speech.models.speaker_encoder import SpeakerEncoder, XVectorSpeakerEncoder, load_speaker_model
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.vocoders import read_vocoder

CLIPS_PER_VOICE = 60


@dataclass(frozen=True)
class VoiceSource:
    """A stored voice: the mean vector of training clips of one speaker of a folder, or of all (`*`)."""

    name: str
    folder: str
    speaker: str


@dataclass(frozen=True)
class AssembleConfig:
    """What goes into the folder.

    lip, codec, speaker, likelihood: folders written by training; speaker is that of the encoder that hears
    voices (empty: their long-term spectrum), likelihood of what says how likely codes are (empty: nothing
    does); vocoder: folder of one with weights, whose name is then a route (empty: none; for all that convert
    does by itself, name it as pipeline.route too); card: the text of its README.md.
    """

    lip_model: str
    codec_path: str
    model_card: str
    speaker_encoder: str = ""
    vocoder: str = ""
    code_prior: str = ""
    inference: PipelineConfig = field(default_factory=PipelineConfig)
    stored_voices: tuple[VoiceSource, ...] = ()


def assemble(config: AssembleConfig, folder: Path, *, overwrite: bool = False) -> int:
    """Write the folder (float16), unless the parts do not speak together; return the bytes of its weights.

    Raises:
        ValueError: the default voice is not among the voices, or a part is not what it should be.
    """
    lip, codec = checkpoint.load(config.lip_model), checkpoint.load(config.codec_path)
    codes, speakers = heard_and_told(config, lip)
    voices = {voice.name: mean_voice(voice, speakers) for voice in config.stored_voices}
    if config.inference.default_voice not in voices:
        raise ValueError(
            f"inference.default_voice is {config.inference.default_voice!r}, expected one of {', '.join(voices)}."
        )
    tensors = {f"model.{k}": v for k, v in lip.tensors.items()}
    tensors |= {f"codec.{k}": v for k, v in codec.tensors.items()}
    tensors |= {f"voice.{k}": v for k, v in voices.items()}
    values = {
        "kind": "lip2speech",
        "model": lip.config["model"],
        "transform": lip.config["transform"],
        "codec": {"name": codec.config["name"], "config": codec.config["codec"]},
        "mel": to_dict(MelConfig()),
        "inference": to_dict(config.inference),
    }
    if isinstance(speakers, XVectorSpeakerEncoder):
        tensors |= {f"speaker_encoder.{k}": v for k, v in speakers.encoder.state_dict().items()}
        values["speaker_encoder"] = to_dict(speakers.encoder.config)
    if config.vocoder:
        vocoder = trained_vocoder(config.vocoder, speakers)
        tensors |= {f"vocoder.{k}": v for k, v in vocoder.tensors.items()}
        values["vocoder"] = {"name": vocoder.config["name"], "config": vocoder.config["vocoder"]}
    if config.code_prior:
        values[KIND], weights = likelihood_part(config.code_prior, codes, speakers)
        tensors |= {f"{KIND}.{k}": v for k, v in weights.items()}
    tensors = {k: as_stored(k, v) for k, v in tensors.items()}
    Lip2Speech.from_checkpoint(checkpoint.Checkpoint(values, tensors, config.model_card, folder), "cpu")
    checkpoint.save(folder, values, tensors, config.model_card, overwrite=overwrite, fp16=True)
    return (folder / checkpoint.WEIGHTS).stat().st_size


def heard_and_told(config: AssembleConfig, lip: checkpoint.Checkpoint) -> tuple[Codec, SpeakerEncoder]:
    """The codec and the speaker model that the lip model learned with. ValueError: others are given."""
    if lip.config.get("kind") != "lip-model":
        raise ValueError(f"{lip.folder} holds {lip.config.get('kind')!r}, expected a lip-model.")
    codes = load_codec(config.codec_path)
    taught, given = lip.config.get("codec"), code_fingerprint(codes)
    if taught not in (None, given):
        raise ValueError(
            f"{lip.folder} has learned codes of codec {taught}, {config.codec_path} is {given}; only a codec with "
            "the same encoder and codebooks speaks them."
        )
    speakers = load_speaker_model(config.speaker_encoder)
    if (heard := lip.config.get("speaker", "spectrum")) != speakers.fingerprint:
        raise ValueError(
            f"{lip.folder} was told of voices by speaker model {heard}, {config.speaker_encoder or 'none'!r} gives "
            f"{speakers.fingerprint}; give the one it learned with."
        )
    return codes, speakers


def trained_vocoder(folder: str, speakers: SpeakerEncoder) -> checkpoint.Checkpoint:
    """A vocoder's folder; ValueError when it learned voices that another speaker model hears."""
    vocoder = read_vocoder(folder)
    heard = vocoder.config.get("speaker", speakers.fingerprint)  # an imported one does not say
    if vocoder.config["vocoder"].get("speaker_dim") and heard != speakers.fingerprint:
        raise ValueError(
            f"{vocoder.folder} was told of voices by speaker model {heard}, the lip model by "
            f"{speakers.fingerprint}; train it with the same speaker folder."
        )
    return vocoder


def likelihood_part(
    folder: str, codec: Codec, speakers: SpeakerEncoder
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a likelihood as a system's part. CheckpointError: of other codes or voices."""
    loaded = read_likelihood(folder)
    network = likelihood_from_dict(loaded.config[KIND], loaded.tensors)
    check_learned(network.config, loaded.config, codec, speakers)
    part = {
        "config": to_dict(network.config),
        "codec": code_fingerprint(deepcopy(codec).half().float()),  # what `as_stored` makes of it
        "speaker": speakers.fingerprint,
    }
    return part, loaded.tensors


def as_stored(name: str, tensor: Tensor) -> Tensor:
    """What a folder of float16 gives back of a tensor. CheckpointError: it cannot be kept so."""
    stored = checkpoint.storable(name, tensor, fp16=True)
    return stored.float() if stored.is_floating_point() else stored


def mean_voice(source: VoiceSource, speakers: SpeakerEncoder) -> Tensor:
    """The mean voice vector (S,) of some training clips of one speaker, or of all."""
    clips = [c for c in read_clips([source.folder], "train") if source.speaker in (c.speaker, "*")]
    if not clips:
        raise ValueError(f"{source.folder} has no training clip of speaker {source.speaker!r}.")
    spread = clips[:: max(1, len(clips) // CLIPS_PER_VOICE)]
    return speakers.mean(torch.stack([speakers.embed(c.wav()) for c in spread]))
