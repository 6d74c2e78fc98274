"""Components of a model folder, built and checked against each other: a mismatch would go unnoticed.

tensors              config             component
model.*              model              front end and heads
codec.*              codec              decodes the heads' codes (optional)
vocoder.*            vocoder            a vocoder with weights (optional)
speaker_encoder.*    speaker_encoder    a trained speaker encoder (optional)
code_prior.*         code_prior         likelihood of codes, for confidence (optional)
                     mel                mel settings that model, codec and vocoder must share
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import CheckpointError, build_and_load
from lip2speech.codecs import build_codec, code_fingerprint, codec_config
from lip2speech.codecs.base import Codec
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE
from lip2speech.models.code_prior import CodePrior, CodePriorConfig, code_prior_from_dict
from lip2speech.models.lip2speech import AnyHeadsConfig, LipModel, ModelConfig
from lip2speech.models.speaker_encoder import SpeakerEncoder, build_speaker_encoder
from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.modules.fusing import fold
from lip2speech.pretrained import resolve_model_path
from lip2speech.vocoders import Vocoder, build_vocoder, build_vocoders, vocoder_config

CONDITIONING_DIMS = ("n_units", "speaker_dim")
"""Sizes of a vocoder with weights that must equal those of the heads."""


def model_from_checkpoint(loaded: checkpoint.Checkpoint) -> LipModel:
    """Front end and heads in eval mode, fused for inference.

    Raises:
        CheckpointError: config and weights do not fit.
        KeyError: a config is missing.
        ValueError: a config is wrong.
    """
    model = trainable_model_from_checkpoint(loaded)
    fold(model.eval())
    return model


def trainable_model_from_checkpoint(loaded: checkpoint.Checkpoint) -> LipModel:
    """Front end and heads as stored; errors as in `model_from_checkpoint`."""
    config = from_dict(ModelConfig, loaded.config["model"], "model")
    return build_and_load(lambda: LipModel(config), config, loaded.subset("model."), "model")


def vocoders_from_checkpoint(
    loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig
) -> dict[str, Vocoder]:
    """All vocoders that these heads suffice for, by name; errors as in `model_from_checkpoint`."""
    if heads.n_mels not in (0, mel.n_mels):
        raise CheckpointError(
            f"the heads predict {heads.n_mels} mel bands, the model's mel has {mel.n_mels}; they do not fit."
        )
    vocoders = build_vocoders(codec_from_checkpoint(loaded, heads, mel), mel)
    if (stored := stored_vocoder_from_checkpoint(loaded, heads, mel)) is not None:
        vocoders[loaded.config["vocoder"]["name"]] = stored
    for vocoder in vocoders.values():
        fold_weight_norm(vocoder.eval())
    return {name: vocoder for name, vocoder in vocoders.items() if heads.predicts(vocoder.needs)}


def codec_from_checkpoint(
    loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig
) -> Codec | None:
    """The codec of a model folder, checked against the heads; None if it has none."""
    if not has_component(loaded, "codec"):
        return None
    config = codec_config(loaded.config["codec"]["name"], loaded.config["codec"]["config"])
    check_mel(mel, config, "codec")
    check, tensors = partial(check_codec, heads), loaded.subset("codec.")
    out: Codec | None = build_and_load(lambda: build_codec(config), config, tensors, "codec", check=check)
    return out


def stored_vocoder_from_checkpoint(
    loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig
) -> Vocoder | None:
    """The vocoder with weights of a model folder, checked against the heads; None if it has none."""
    if not has_component(loaded, "vocoder"):
        return None
    name = loaded.config["vocoder"]["name"]
    config = vocoder_config(name, loaded.config["vocoder"]["config"])
    check_mel(mel, config, "vocoder")
    check, tensors = partial(check_vocoder, heads), loaded.subset("vocoder.")
    out: Vocoder | None = build_and_load(
        lambda: build_vocoder(name, config), config, tensors, "vocoder", check=check
    )
    return out


def code_prior_from_checkpoint(
    loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig, speaker_encoder: SpeakerEncoder
) -> CodePrior | None:
    """The code prior of a model folder, checked against the heads; None if it has none.

    Its config names the fingerprint of the codec as stored in the folder, in float16. Errors as in
    `model_from_checkpoint`.
    """
    if not has_component(loaded, "code_prior"):
        return None
    values = loaded.config["code_prior"]
    network = code_prior_from_dict(values["config"], loaded.subset("code_prior."))
    check_code_prior(heads, network.config)
    codec = codec_from_checkpoint(loaded, heads, mel)
    check_prior_fingerprints(network.config, values, codec, speaker_encoder)
    return network


def speaker_encoder_from_checkpoint(loaded: checkpoint.Checkpoint) -> SpeakerEncoder:
    """The speaker encoder of a model folder; errors as in `model_from_checkpoint`."""
    heads = from_dict(ModelConfig, loaded.config["model"], "model").heads
    tensors = loaded.subset("speaker_encoder.")
    return build_speaker_encoder(loaded.config.get("speaker_encoder"), tensors, heads.speaker_dim)


def load_model_speaker_encoder(model: str | os.PathLike[str]) -> SpeakerEncoder:
    """The speaker encoder of a bundled model by name, or of a model folder.

    Raises:
        CheckpointError: a missing or damaged folder.
    """
    loaded = checkpoint.load(resolve_model_path(model))
    try:
        return speaker_encoder_from_checkpoint(loaded)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{loaded.folder}: its config is wrong ({error}).") from error


def has_component(loaded: checkpoint.Checkpoint, name: str) -> bool:
    """Whether a component is present; CheckpointError if its weights are but its config is not."""
    if name in loaded.config:
        return True
    if weights := loaded.subset(f"{name}."):
        raise CheckpointError(
            f"{loaded.folder}: has {len(weights)} weights of a {name} but no config for it; it is incomplete."
        )
    return False


def check_mel(mel: MelConfig, config: Any, component: str) -> None:
    """CheckpointError if the mel settings of a codec or vocoder are not the model's."""
    other = getattr(config, "mel", None)
    if not isinstance(other, MelConfig) or other == mel:
        return
    differ = [f.name for f in fields(mel) if getattr(mel, f.name) != getattr(other, f.name)]
    ours, theirs = (", ".join(f"{name} {getattr(c, name)}" for name in differ) for c in (mel, other))
    raise CheckpointError(f"the model's mel has {ours}, the {component}'s {theirs}; they do not fit.")


def check_codec(heads: AnyHeadsConfig, codec: Codec) -> None:
    """CheckpointError if a codec cannot decode the heads' codes, or has another sample rate."""
    if codec.sample_rate != SAMPLE_RATE:
        raise CheckpointError(
            f"the model is at {SAMPLE_RATE} Hz, the codec at {codec.sample_rate} Hz; they do not fit."
        )
    sizes = codec.codebook_sizes
    if heads.n_q and (heads.codebook_sizes, heads.code_frame_rate) != (sizes[: heads.n_q], codec.frame_rate):
        raise CheckpointError(
            f"the heads predict {describe_codebooks(heads.codebook_sizes)} at {heads.code_frame_rate} Hz, "
            f"the codec has {describe_codebooks(sizes)} at {codec.frame_rate} Hz; they do not fit."
        )


def check_vocoder(heads: AnyHeadsConfig, vocoder: Any) -> None:
    """CheckpointError if a vocoder takes other units or speaker embeddings, or has another sample rate."""
    pairs = {name: (getattr(heads, name), getattr(vocoder.config, name, None)) for name in CONDITIONING_DIMS}
    pairs["sample_rate"] = SAMPLE_RATE, vocoder.sample_rate
    # The speaker_dim of a vocoder without speaker conditioning is 0, or missing.
    differ = {name: pair for name, pair in pairs.items() if pair[1] not in (None, 0, pair[0])}
    if differ:
        ours, theirs = (format_pairs((name, pair[i]) for name, pair in differ.items()) for i in (0, 1))
        raise CheckpointError(f"the model has {ours}, its vocoder {theirs}; they do not fit.")


def format_pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values for an error."""
    return ", ".join(f"{name} {value}" for name, value in pairs)


def check_code_prior(heads: AnyHeadsConfig, config: CodePriorConfig) -> None:
    """CheckpointError if the codebooks or speaker embeddings of a code prior are not the heads'."""
    if heads.codebook_sizes != config.codebook_sizes:
        raise CheckpointError(
            f"the heads predict {describe_codebooks(heads.codebook_sizes)}, the code prior is of "
            f"{describe_codebooks(config.codebook_sizes)}; they do not fit."
        )
    if config.speaker_dim not in (0, heads.speaker_dim):
        raise CheckpointError(
            f"the heads take speaker embeddings of {heads.speaker_dim} dimensions, the code prior of "
            f"{config.speaker_dim}; they do not fit."
        )


def check_prior_fingerprints(
    config: CodePriorConfig,
    trained_with: Mapping[str, Any],
    codec: Codec | None,
    speaker_encoder: SpeakerEncoder,
) -> None:
    """CheckpointError if a code prior was trained with another codec or speaker encoder."""
    fingerprints = {"codec": "none" if codec is None else code_fingerprint(codec)}
    if config.speaker_dim:
        fingerprints["speaker"] = speaker_encoder.fingerprint
    for name, fingerprint in fingerprints.items():
        if trained_with[name] != fingerprint:
            raise CheckpointError(
                f"the code prior was trained with {name} {trained_with[name]}, the model's {name} is "
                f"{fingerprint}; train one with the model's."
            )
