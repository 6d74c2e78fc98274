"""Targets of fine-tuning: unit tokenizer, codec and speaker encoder that fit the model's heads."""

from __future__ import annotations

from lip2speech.codecs import load_codec
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.speaker_encoder import load_speaker_encoder
from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.train.core.device import training_device
from lip2speech.train.finetune.config import FinetuneConfig


def build_target_extractor(config: FinetuneConfig) -> TargetExtractor:
    """Load what makes the targets; ValueError if the heads have other sizes or lack a target."""
    heads = config.model.heads
    device = training_device(config.trainer.device)
    units = load_unit_tokenizer(config.unit_tokenizer, device) if config.unit_tokenizer else None
    codec = load_codec(config.codec_path).to(device) if config.codec_path else None
    n_units = units.n_units if units else 0
    if heads.n_units != n_units:
        raise ValueError(
            f"model.heads.n_units is {heads.n_units}, unit_tokenizer {config.unit_tokenizer!r} has {n_units} "
            "units; set it to that."
        )
    found = (codec.codebook_sizes, codec.frame_rate) if codec else ((), 0)
    expected = (heads.codebook_sizes, heads.code_frame_rate) if heads.n_q else ((), 0)
    if found != expected:
        raise ValueError(
            f"model.heads has {describe(*expected)}, codec_path {config.codec_path!r} {describe(*found)}; "
            "set n_q, codebook_size and code_frame_rate of model.heads to those of the codec."
        )
    speaker_encoder = load_speaker_encoder(config.speaker_encoder)
    if heads.speaker_dim != speaker_encoder.dim:
        name = config.speaker_encoder or "(average spectrum)"
        raise ValueError(
            f"model.heads.speaker_dim is {heads.speaker_dim}, embeddings of speaker_encoder {name} have "
            f"{speaker_encoder.dim} values; set it to that."
        )
    return TargetExtractor(units, codec, pitch=bool(heads.pitch_dim), speaker_encoder=speaker_encoder)


def describe(codebook_sizes: tuple[int, ...], frame_rate: int) -> str:
    """Number, size and rate of codes, for a message."""
    return f"{describe_codebooks(codebook_sizes)} at {frame_rate} Hz"
