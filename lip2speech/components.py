"""The parts of a system's folder, read and compared with each other: a misfit would speak wrongly, unnoticed.

    model.*, its config `model`     front end and heads
    codec.*, `codec`                what the heads' codes mean, where there are any
    vocoder.*, `vocoder`            a vocoder with weights of its own, where the folder brings one
    speaker.*, `speaker`            what hears voices, where it is a trained encoder
    likelihood.*, `likelihood`      how likely codes are as speech, where the folder says so
    `mel`                           the one recipe that model, codec and vocoder must share

Knows nothing of videos.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.codecs import build_codec, code_fingerprint, codec_config
from lip2speech.codecs.base import Codec
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE
from lip2speech.models.code_prior import CodePrior, CodePriorConfig, likelihood_from_dict
from lip2speech.models.lip2speech import AnyHeadsConfig, LipModel, ModelConfig
from lip2speech.models.speaker_encoder import SpeakerEncoder, speaker_model_from
from lip2speech.modules.codebook_layout import books
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.modules.fusing import fold
from lip2speech.pretrained import folder_of
from lip2speech.restore import restore
from lip2speech.vocoders import Vocoder, build_vocoder, build_vocoders, vocoder_config

SHARED_SIZES = ("n_units", "speaker_dim")
"""Sizes that a vocoder with weights may have, and that are then the heads'."""


def model_of(loaded: checkpoint.Checkpoint) -> LipModel:
    """Front end and heads, ready to predict. CheckpointError, KeyError or ValueError: the folder is wrong."""
    model = trainable_model_of(loaded)
    fold(model.eval())
    return model


def trainable_model_of(loaded: checkpoint.Checkpoint) -> LipModel:
    """Front end and heads as they are stored. Errors as in `model_of`."""
    config = from_dict(ModelConfig, loaded.config["model"], "model")
    return restore(lambda: LipModel(config), config, loaded.part("model."), "model")


def vocoders_of(loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig) -> dict[str, Vocoder]:
    """What turns these heads' predictions into sound, by route. Errors as in `model_of`."""
    if heads.n_mels not in (0, mel.n_mels):
        raise checkpoint.CheckpointError(
            f"the heads predict {heads.n_mels} mel bands, the model's mel has {mel.n_mels}; they do not fit."
        )
    vocoders = build_vocoders(codec_of(loaded, heads, mel), mel)
    if (own := own_vocoder_of(loaded, heads, mel)) is not None:
        vocoders[loaded.config["vocoder"]["name"]] = own
    for vocoder in vocoders.values():
        fold_weight_norm(vocoder.eval())
    return {name: vocoder for name, vocoder in vocoders.items() if heads.predicts(vocoder.needs)}


def codec_of(loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig) -> Codec | None:
    """The folder's codec, which fits the heads; None where it has none."""
    if not has_part(loaded, "codec"):
        return None
    config = codec_config(loaded.config["codec"]["name"], loaded.config["codec"]["config"])
    check_mel(mel, config, "codec")
    check, tensors = partial(check_codec, heads), loaded.part("codec.")
    return restore(lambda: build_codec(config), config, tensors, "codec", check=check)


def own_vocoder_of(loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig) -> Vocoder | None:
    """The vocoder with weights that the folder brings, which fits the heads; None where it brings none."""
    if not has_part(loaded, "vocoder"):
        return None
    name = loaded.config["vocoder"]["name"]
    config = vocoder_config(name, loaded.config["vocoder"]["config"])
    check_mel(mel, config, "vocoder")
    check, tensors = partial(check_vocoder, heads), loaded.part("vocoder.")
    return restore(lambda: build_vocoder(name, config), config, tensors, "vocoder", check=check)


def has_part(loaded: checkpoint.Checkpoint, name: str) -> bool:
    """Whether a part is there; CheckpointError: its weights are, and its config is not."""
    if name in loaded.config:
        return True
    if weights := loaded.part(f"{name}."):
        raise checkpoint.CheckpointError(
            f"{loaded.folder}: has {len(weights)} weights of a {name} and no config of it; it is incomplete."
        )
    return False


def check_mel(mel: MelConfig, config: Any, what: str) -> None:
    """Refuse a codec or vocoder whose mel recipe is not the model's."""
    other = getattr(config, "mel", None)
    if not isinstance(other, MelConfig) or other == mel:
        return
    differ = [f.name for f in fields(mel) if getattr(mel, f.name) != getattr(other, f.name)]
    ours, theirs = (", ".join(f"{name} {getattr(c, name)}" for name in differ) for c in (mel, other))
    raise checkpoint.CheckpointError(f"the model's mel has {ours}, the {what}'s {theirs}; they do not fit.")


def check_codec(heads: AnyHeadsConfig, codec: Codec) -> None:
    """Refuse a codec that cannot read the heads' codes, or of another sample rate."""
    if codec.sample_rate != SAMPLE_RATE:
        raise checkpoint.CheckpointError(
            f"the model speaks at {SAMPLE_RATE} Hz, the codec is at {codec.sample_rate} Hz; they do not fit."
        )
    sizes = codec.codebook_sizes
    if heads.n_q and (heads.codebook_sizes, heads.code_frame_rate) != (sizes[: heads.n_q], codec.frame_rate):
        raise checkpoint.CheckpointError(
            f"the heads predict {books(heads.codebook_sizes)} at {heads.code_frame_rate} Hz, the codec has "
            f"{books(sizes)} at {codec.frame_rate} Hz; they do not fit."
        )


def check_vocoder(heads: AnyHeadsConfig, vocoder: Any) -> None:
    """Refuse a vocoder with weights that takes other units or voices than the heads', or of another rate."""
    found = {name: (getattr(heads, name), getattr(vocoder.config, name, None)) for name in SHARED_SIZES}
    found["sample_rate"] = SAMPLE_RATE, vocoder.sample_rate
    # A vocoder that is told no voice has a speaker_dim of 0, or none.
    differ = {name: pair for name, pair in found.items() if pair[1] not in (None, 0, pair[0])}
    if differ:
        ours, theirs = (listed((name, pair[i]) for name, pair in differ.items()) for i in (0, 1))
        raise checkpoint.CheckpointError(f"the model has {ours}, its vocoder {theirs}; they do not fit.")


def listed(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values for an error."""
    return ", ".join(f"{name} {value}" for name, value in pairs)


def likelihood_of(
    loaded: checkpoint.Checkpoint, heads: AnyHeadsConfig, mel: MelConfig, speakers: SpeakerEncoder
) -> CodePrior | None:
    """The folder's likelihood, which fits the heads; None where it has none. Errors as in `model_of`.

    Its part names the codec as the folder keeps it, in float16: not as it was when the codes were learned.
    """
    if not has_part(loaded, "code_prior"):
        return None
    part = loaded.config["code_prior"]
    network = likelihood_from_dict(part["config"], loaded.part("code_prior."))
    check_likelihood(heads, network.config)
    check_learned(network.config, part, codec_of(loaded, heads, mel), speakers)
    return network


def check_learned(
    config: CodePriorConfig, learned: Mapping[str, Any], codec: Codec | None, speakers: SpeakerEncoder
) -> None:
    """Refuse a likelihood that has `learned` the codes of another codec, or voices heard in another way."""
    pairs = {"codec": "none" if codec is None else code_fingerprint(codec)}
    if config.speaker_dim:
        pairs["speaker"] = speakers.fingerprint
    for name, own in pairs.items():
        if learned[name] != own:
            raise checkpoint.CheckpointError(
                f"the likelihood has learned with {name} {learned[name]}, the model's {name} is {own}; train "
                "one with the model's."
            )


def check_likelihood(heads: AnyHeadsConfig, config: CodePriorConfig) -> None:
    """Refuse a likelihood of other books or voices than the heads'."""
    if heads.codebook_sizes != config.codebook_sizes:
        raise checkpoint.CheckpointError(
            f"the heads predict {books(heads.codebook_sizes)}, the likelihood is of "
            f"{books(config.codebook_sizes)}; they do not fit."
        )
    if config.speaker_dim not in (0, heads.speaker_dim):
        raise checkpoint.CheckpointError(
            f"the heads take voices of {heads.speaker_dim} numbers, the likelihood of {config.speaker_dim}; "
            "they do not fit."
        )


def speaker_model_of(loaded: checkpoint.Checkpoint) -> SpeakerEncoder:
    """What a system hears voices with. CheckpointError, KeyError or ValueError: its folder is wrong."""
    heads = from_dict(ModelConfig, loaded.config["model"], "model").heads
    return speaker_model_from(
        loaded.config.get("speaker_encoder"), loaded.part("speaker_encoder."), heads.speaker_dim
    )


def speaker_model_at(model: str | os.PathLike) -> SpeakerEncoder:
    """What the model of a name or folder hears voices with. CheckpointError: missing or damaged folder."""
    loaded = checkpoint.load(folder_of(model))
    try:
        return speaker_model_of(loaded)
    except (KeyError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{loaded.folder}: its config is wrong ({error}).") from error
