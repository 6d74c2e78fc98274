"""lip2speech-unit's multi-target models (Choi, Kim, Ro 2023) -> our model folder.

Reads both variants: on AV-HuBERT, and on a ResNet trained from scratch. With its multi-input vocoder the
folder uses that, otherwise Griffin-Lim. Speaker embeddings come from an encoder that is not part of this
package, so voices are given as files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers import avhubert
from lip2speech.importers.avhubert import find_heads, read_encoder
from lip2speech.importers.base import Imported, RenamedWeights, model_card
from lip2speech.importers.fairseq import read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.hifigan import LICENCE, read_unit_vocoder
from lip2speech.importers.keymap import KeyMap, count_layers, prefixed_state_dict
from lip2speech.models.frontends.resnet import ResNetConfig, ResNetFrontEnd
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.heads.conformer import MEL_FRAMES_PER_UNIT, ConformerHeads, ConformerHeadsConfig
from lip2speech.models.lip2speech import ModelConfig
from lip2speech.models.speaker_encoder import read_embedding
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.vocoders import read_vocoder
from lip2speech.vocoders.hifigan import UNIT_MEL

MODEL_NAME = "lip2speech-unit"
ENCODER_PREFIX = "encoder.w2v_model."
HEADS_PREFIXES = {True: "conformer.", False: "encoder."}
"""Prefix of the heads, with AV-HuBERT and without."""
N_SPECIAL_TOKENS = 4  # <s> <pad> </s> <unk>, the start of every fairseq dictionary

HEAD_KEYS: dict[str, str | None] = {
    "proj_in": "heads.project",
    "encoder.embed.0": "heads.embed",
    "encoder.after_norm": "heads.encoder.norm",
    "proj_out": "heads.units",
    "mel_conv.0": "heads.mel_convs.0",  # between them are dropouts and activations
    "mel_conv.3": "heads.mel_convs.1",
    "mel_conv.6": "heads.mel_convs.2",
    "mel_proj": "heads.mel",
}
LAYER_KEYS: dict[str, str | None] = {
    "feed_forward_macaron.w_1": "ffn1.fc1",
    "feed_forward_macaron.w_2": "ffn1.fc2",
    "norm_ff_macaron": "ffn1_norm",
    "self_attn.linear_q": "attention.q_proj",
    "self_attn.linear_k": "attention.k_proj",
    "self_attn.linear_v": "attention.v_proj",
    "self_attn.linear_out": "attention.out_proj",
    "self_attn.linear_pos": "attention.position_proj",
    "self_attn.pos_bias_u": "attention.content_bias",
    "self_attn.pos_bias_v": "attention.position_bias",
    "norm_mha": "attention_norm",
    "conv_module.pointwise_cov1": "conv.pointwise1",
    "conv_module.depthwise_conv": "conv.depthwise",
    "conv_module.norm": "conv.norm",
    "conv_module.pointwise_cov2": "conv.pointwise2",
    "norm_conv": "conv_norm",
    "feed_forward.w_1": "ffn2.fc1",
    "feed_forward.w_2": "ffn2.fc2",
    "norm_ff": "ffn2_norm",
    "norm_final": "norm",
}
STEM_KEYS: dict[str, str | None] = {
    "encoder.frontend.frontend3D.0": "frontend.resnet.stem",
    "encoder.frontend.frontend3D.1": "frontend.resnet.norm",
}
MISSING_IN_SOURCE = ("heads.mel_mean", "heads.mel_std")
"""Official mels are not normalised: mean 0, standard deviation 1, the initial values of our heads."""


@dataclass(frozen=True)
class ImportedUnitModel:
    """A multi-target model as read from a file.

    Attributes:
        config: our config.
        tensors: weights under our names.
        dropped: foreign names of weights that we have no use for.
        notes: what was unwrapped, see `unwrap`.
    """

    config: ModelConfig
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def import_unit_model(  # noqa: PLR0913  # its keywords are the options of the command
    source: str | Path,
    out: str | Path,
    *,
    vocoder: str | Path | None = None,
    voice: str | Path | None = None,
    heads: int | None = None,
    pretrained: str | Path | None = None,
    overwrite: bool = False,
    fp16: bool = False,
) -> Imported:
    """Write the official multi-target model `source` as our model folder `out`, which converts videos.

    Args:
        source: the official file.
        out: the folder to write.
        vocoder: the official multi-input vocoder with its config.json beside it, or a vocoder folder of ours;
            without it the folder uses Griffin-Lim.
        voice: its default voice, FILE.npy of a speaker embedding from the encoder it was trained with; the
        name
            is that of the file. Without it, every conversion needs a voice.
        heads: attention heads of its AV-HuBERT, if they are not in the file and the head size is not 64.
        pretrained: the AV-HuBERT it was trained from, to read the number of heads from.
        overwrite: replace a checkpoint folder.
        fp16: store float16.
    """
    model = read_unit_model(source, heads=heads, pretrained=pretrained)
    tensors = {f"model.{name}": tensor for name, tensor in model.tensors.items()}
    default_voice = "" if voice is None else Path(voice).stem
    if voice is not None:
        tensors[f"voice.{default_voice}"] = read_embedding(str(voice), model.config.heads.speaker_dim)
    values: dict[str, Any] = {
        "kind": "lip2speech",
        "model": config.to_dict(model.config),
        "transform": config.to_dict(Transform()),
        "mel": config.to_dict(UNIT_MEL),
        "licence": licence(model.config),
    }
    if vocoder is not None:
        values["vocoder"], weights = _vocoder_part(Path(vocoder))
        tensors |= weights
    vocoder_name = values["vocoder"]["name"] if vocoder is not None else "griffin-lim"
    values["inference"] = config.to_dict(PipelineConfig(vocoder=vocoder_name, default_voice=default_voice))
    imported = Imported(values, tensors, model.dropped, model.notes)
    text = _card(Path(source), imported)
    _check_loads(checkpoint.Checkpoint(values, tensors, text, Path(out)))
    checkpoint.save(Path(out), values, tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_unit_model(
    source: str | Path, *, heads: int | None = None, pretrained: str | Path | None = None
) -> ImportedUnitModel:
    """The model of an official checkpoint, in our names; tensors are float32."""
    file = read_fairseq(source)
    with_avhubert = any(name.startswith(ENCODER_PREFIX) for name in file.model)
    prefix = HEADS_PREFIXES[with_avhubert]
    own = {name: t for name, t in file.model.items() if not name.startswith(ENCODER_PREFIX)}
    layers = count_layers(own, f"{prefix}encoder.encoders.", file.path, MODEL_NAME)
    keys = KeyMap(file.path, MODEL_NAME, key_map(layers, stem=not with_avhubert), prefix)
    found, _ = keys.translate(own)
    if with_avhubert:
        part = replace(file, model={n: t for n, t in file.model.items() if n.startswith(ENCODER_PREFIX)})
        encoder = read_encoder(part, ENCODER_PREFIX, heads or find_heads(file, pretrained))
        sizes = ModelConfig(encoder.frontend, infer_heads(found, keys, layers))
        tensors = encoder.tensors | match_heads(found, keys, sizes)
        return ImportedUnitModel(sizes, tensors, encoder.dropped, file.notes)
    width = keys.shape(found, "frontend.resnet.stem.weight", 5)[0]
    sizes = ModelConfig(ResNetConfig(resnet_width=width), infer_heads(found, keys, layers))
    return ImportedUnitModel(sizes, match_heads(found, keys, sizes), (), file.notes)


def key_map(n_layers: int, *, stem: bool) -> dict[str, str | None]:
    """Foreign module (or weight) name -> ours, for a conformer of `n_layers` and, with `stem`, its ResNet."""
    table = dict(HEAD_KEYS)
    for layer in range(n_layers):
        theirs, ours = f"encoder.encoders.{layer}", f"heads.encoder.layers.{layer}"
        table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in LAYER_KEYS.items()}
    if stem:
        table |= STEM_KEYS
        table |= avhubert.trunk_map("encoder.frontend.trunk")
    return table


def infer_heads(found: RenamedWeights, keys: KeyMap, layers: int) -> ConformerHeadsConfig:
    """The sizes from the shapes of the weights; what they do not show is shared by all published models."""
    hidden, embedded = keys.shape(found, "heads.embed.weight", 2)
    first = "heads.encoder.layers.0"
    rows = keys.shape(found, "heads.units.weight", 2)[0]
    bands = keys.shape(found, "heads.mel.weight", 2)[0]
    speaker_dim = keys.shape(found, "heads.mel_convs.0.weight", 3)[1] - hidden
    heads = keys.shape(found, f"{first}.attention.content_bias", 2)[0]
    kernel = keys.shape(found, f"{first}.conv.depthwise.weight", 3)[2]
    if (
        rows <= N_SPECIAL_TOKENS
        or bands % MEL_FRAMES_PER_UNIT
        or speaker_dim < 1
        or hidden % heads
        or kernel % 2 == 0
    ):
        raise ForeignFileError(
            f"{keys.path}: impossible sizes: {rows} rows of units, {bands} of mel, a speaker embedding of "
            f"{speaker_dim}, {hidden} features for {heads} heads, a kernel of {kernel}."
        )
    return ConformerHeadsConfig(
        hidden_dim=hidden,
        projection=embedded if "heads.project.weight" in found else 0,
        layers=layers,
        ffn_dim=keys.shape(found, f"{first}.ffn2.fc1.weight", 2)[0],
        heads=heads,
        kernel_size=kernel,
        speaker_dim=speaker_dim,
        n_mels=bands // MEL_FRAMES_PER_UNIT,
        n_units=rows - N_SPECIAL_TOKENS,
        n_special_tokens=N_SPECIAL_TOKENS,
    )


def match_heads(found: RenamedWeights, keys: KeyMap, sizes: ModelConfig) -> dict[str, Tensor]:
    """The weights of the heads and, where there is one, of the ResNet; AV-HuBERT is matched separately."""
    heads = sizes.heads
    assert isinstance(heads, ConformerHeadsConfig), "infer_heads returns no other"
    with torch.device("meta"):  # shapes without memory: the file's sizes are not trusted yet
        expected = prefixed_state_dict(heads=ConformerHeads(sizes.frontend.embed_dim, heads))
        if isinstance(sizes.frontend, ResNetConfig):
            expected |= prefixed_state_dict(frontend=ResNetFrontEnd(sizes.frontend))
    tensors = keys.match(found, {name: t for name, t in expected.items() if name not in MISSING_IN_SOURCE})
    mean, std = MISSING_IN_SOURCE
    return tensors | {mean: torch.zeros(heads.n_mels), std: torch.ones(heads.n_mels)}


def licence(sizes: ModelConfig) -> str:
    """The terms of the weights, as far as they are known."""
    return LICENCE if isinstance(sizes.frontend, ResNetConfig) else f"{LICENCE}; {avhubert.LICENCE}"


def _check_loads(loaded: checkpoint.Checkpoint) -> None:
    """Raise unless model, vocoder and voice fit each other."""
    Lip2Speech.from_checkpoint(loaded, "cpu")


def _vocoder_part(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a vocoder in a model folder, from our vocoder folder or the official file."""
    if source.is_dir():
        loaded = read_vocoder(source)
        values, tensors = loaded.config, loaded.tensors
    else:
        imported = read_unit_vocoder(source)
        values, tensors = imported.config, imported.tensors
    part = {"name": values["name"], "config": values["vocoder"]}
    return part, {f"vocoder.{name}": tensor for name, tensor in tensors.items()}


def _card(source: Path, imported: Imported) -> str:
    values = imported.config
    heads, frontend = values["model"]["heads"], values["model"]["frontend"]
    encoder = "a ResNet trained from scratch" if frontend.get("kind") == "resnet" else "AV-HuBERT"
    facts = (
        f"Licence: {values['licence']}. It also applies to these weights.",
        f"Heads: a conformer of {heads['layers']} layers of {heads['hidden_dim']}; {heads['n_units']} units.",
        "Frame rates: video 25 Hz in; units 50 Hz and mel 100 Hz out.",
        "Mel: windows of 640 samples, hop 160, 80 Slaney bands up to 8 kHz, natural log of magnitudes.",
        f"Voices: unit-length speaker embeddings of {heads['speaker_dim']} numbers from the encoder of\n"
        "  Real-Time Voice Cloning (GE2E, Wan et al. 2018); give one as FILE.npy.",
        f"Vocoder: {values['inference']['vocoder']}.",
        "Source: Choi, Kim and Ro 2023, Intelligible lip-to-speech synthesis with speech units.",
    )
    origin = f"Imported from the official checkpoint `{source.name}`: lip2speech-unit on {encoder}."
    return model_card("Lip to speech with speech units", origin, facts, imported.dropped)
