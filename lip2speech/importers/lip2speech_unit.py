"""lip2speech-unit's multi-target models (Choi, Kim, Ro 2023) -> a model folder that speaks.

Both kinds are read: on AV-HuBERT, and on a ResNet of its own. The folder speaks through its multi-input
vocoder where that is given as well, and through Griffin-Lim else. Its voices are vectors of an encoder that
is not here: it takes them as files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers import avhubert
from lip2speech.importers.avhubert import heads_of, read_encoder
from lip2speech.importers.base import Found, Imported, check_claims
from lip2speech.importers.fairseq import read_fairseq
from lip2speech.importers.hifigan import LICENCE, read_unit_vocoder
from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.keymap import KeyMap, count_layers, state_of
from lip2speech.models.frontends.resnet import ResNetConfig, ResNetFrontEnd
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.heads.conformer import MEL_FRAMES_PER_UNIT, ConformerHeads, ConformerHeadsConfig
from lip2speech.models.lip2speech import ModelConfig
from lip2speech.models.speaker_encoder import read_embedding
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.vocoders import read_vocoder
from lip2speech.vocoders.hifigan import UNIT_MEL

WHAT = "lip2speech-unit"
ENCODER_PREFIX = "encoder.w2v_model."
HEADS_PREFIXES = {True: "conformer.", False: "encoder."}
"""Before the names of the heads, with AV-HuBERT and without."""
SPECIALS = 4  # <s> <pad> </s> <unk>: how every dictionary of fairseq begins

HEADS: dict[str, str | None] = {
    "proj_in": "heads.project",
    "encoder.embed.0": "heads.embed",
    "encoder.after_norm": "heads.encoder.norm",
    "proj_out": "heads.units",
    "mel_conv.0": "heads.mel_convs.0",  # between them lie dropouts and activations
    "mel_conv.3": "heads.mel_convs.1",
    "mel_conv.6": "heads.mel_convs.2",
    "mel_proj": "heads.mel",
}
LAYER: dict[str, str | None] = {
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
STEM: dict[str, str | None] = {
    "encoder.frontend.frontend3D.0": "frontend.resnet.stem",
    "encoder.frontend.frontend3D.1": "frontend.resnet.norm",
}
OURS_ALONE = ("heads.mel_mean", "heads.mel_std")
"""The official mels are not normalised: mean 0 and deviation 1, as our heads begin."""


@dataclass(frozen=True)
class UnitModel:
    """What a file holds: our config and weights, and the foreign names that were dropped."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


def import_unit_model(
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
        vocoder: the official multi-input vocoder, its config.json beside it, or a folder of ours that holds
            one; without it the folder speaks by Griffin-Lim.
        voice: its own voice, FILE.npy of a vector of the speaker encoder that it was trained with; the file's
            name without the ending is the voice's. Without it, whoever lets it speak gives one.
        heads: attention heads of its AV-HuBERT, where neither the file nor a head size of 64 tells.
        pretrained: the AV-HuBERT it was made from, which tells its heads.
        fp16: store float16.
    """
    model = read_unit_model(source, heads=heads, pretrained=pretrained)
    tensors = {f"model.{name}": tensor for name, tensor in model.tensors.items()}
    own = "" if voice is None else Path(voice).stem
    if voice is not None:
        tensors[f"voice.{own}"] = read_embedding(str(voice), model.config.heads.speaker_dim)
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
    route = values["vocoder"]["name"] if vocoder is not None else "griffin-lim"
    values["inference"] = config.to_dict(PipelineConfig(vocoder=route, default_voice=own))
    imported = Imported(values, tensors, model.dropped)
    text = _card(Path(source), imported)
    Lip2Speech.from_checkpoint(
        checkpoint.Checkpoint(values, tensors, text, Path(out)), "cpu"
    )  # its parts must fit
    checkpoint.save(Path(out), values, tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_unit_model(
    source: str | Path, *, heads: int | None = None, pretrained: str | Path | None = None
) -> UnitModel:
    """The model of an official checkpoint, in our names; tensors are float32."""
    file = read_fairseq(source)
    check_claims(file.model, file.path)
    with_avhubert = any(name.startswith(ENCODER_PREFIX) for name in file.model)
    prefix = HEADS_PREFIXES[with_avhubert]
    own = {name: t for name, t in file.model.items() if not name.startswith(ENCODER_PREFIX)}
    layers = count_layers(own, f"{prefix}encoder.encoders.", file.path, WHAT)
    keys = KeyMap(file.path, WHAT, key_map(layers, stem=not with_avhubert), prefix)
    found, _ = keys.translate(own)
    if with_avhubert:
        part = replace(file, model={n: t for n, t in file.model.items() if n.startswith(ENCODER_PREFIX)})
        encoder = read_encoder(part, ENCODER_PREFIX, heads or heads_of(file, pretrained))
        sizes = ModelConfig(encoder.frontend, infer_heads(found, keys, layers))
        tensors = fit_heads(found, keys, sizes)
        return UnitModel(sizes, encoder.tensors | tensors, encoder.dropped)
    width = keys.shape(found, "frontend.resnet.stem.weight", 5)[0]
    sizes = ModelConfig(ResNetConfig(resnet_width=width), infer_heads(found, keys, layers))
    return UnitModel(sizes, fit_heads(found, keys, sizes), ())


def key_map(n_layers: int, *, stem: bool) -> dict[str, str | None]:
    """Foreign module (or weight) name -> ours, for a conformer of `n_layers` and, with `stem`, its ResNet."""
    table = dict(HEADS)
    for layer in range(n_layers):
        theirs, ours = f"encoder.encoders.{layer}", f"heads.encoder.layers.{layer}"
        table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in LAYER.items()}
    if stem:
        table |= STEM
        table |= avhubert.trunk_map("encoder.frontend.trunk")
    return table


def infer_heads(found: Found, keys: KeyMap, layers: int) -> ConformerHeadsConfig:
    """The sizes, read from the weights' shapes; what these do not tell, all published models share."""
    hidden, embedded = keys.shape(found, "heads.embed.weight", 2)
    first = "heads.encoder.layers.0"
    rows = keys.shape(found, "heads.units.weight", 2)[0]
    bands = keys.shape(found, "heads.mel.weight", 2)[0]
    speaker_dim = keys.shape(found, "heads.mel_convs.0.weight", 3)[1] - hidden
    heads, kernel_size = (
        keys.shape(found, f"{first}.attention.content_bias", 2)[0],
        keys.shape(found, f"{first}.conv.depthwise.weight", 3)[2],
    )
    if rows <= SPECIALS or bands % MEL_FRAMES_PER_UNIT or speaker_dim < 1 or hidden % heads or kernel_size % 2 == 0:
        raise ForeignFileError(
            f"{keys.path}: impossible sizes: {rows} rows of units, {bands} of mel, a voice of {speaker_dim}, "
            f"{hidden} features for {heads} heads, a kernel of {kernel_size}."
        )
    return ConformerHeadsConfig(
        hidden_dim=hidden,
        projection=embedded if "heads.project.weight" in found else 0,
        layers=layers,
        ffn_dim=keys.shape(found, f"{first}.ffn2.fc1.weight", 2)[0],
        heads=heads,
        kernel_size=kernel_size,
        speaker_dim=speaker_dim,
        n_mels=bands // MEL_FRAMES_PER_UNIT,
        n_units=rows - SPECIALS,
        n_special_tokens=SPECIALS,
    )


def fit_heads(found: Found, keys: KeyMap, sizes: ModelConfig) -> dict[str, Tensor]:
    """The heads' weights, and those of a ResNet before them; AV-HuBERT is another's to fit."""
    heads = sizes.heads
    assert isinstance(heads, ConformerHeadsConfig), "what this importer infers"
    with torch.device("meta"):  # shapes without memory: the file's sizes are not to be trusted yet
        expected = state_of(heads=ConformerHeads(sizes.frontend.embed_dim, heads))
        if isinstance(sizes.frontend, ResNetConfig):
            expected |= state_of(frontend=ResNetFrontEnd(sizes.frontend))
    tensors = keys.fit(found, {name: t for name, t in expected.items() if name not in OURS_ALONE})
    mean, std = OURS_ALONE
    return tensors | {mean: torch.zeros(heads.n_mels), std: torch.ones(heads.n_mels)}


def _vocoder_part(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors that a vocoder brings to a model folder, from our folder or the official file."""
    if source.is_dir():
        loaded = read_vocoder(source)
        values, tensors = loaded.config, loaded.tensors
    else:
        imported = read_unit_vocoder(source)
        values, tensors = imported.config, imported.tensors
    part = {"name": values["name"], "config": values["vocoder"]}
    return part, {f"vocoder.{name}": tensor for name, tensor in tensors.items()}


def licence(sizes: ModelConfig) -> str:
    """The terms of the weights, as far as they are known."""
    return LICENCE if isinstance(sizes.frontend, ResNetConfig) else f"{LICENCE}; {avhubert.LICENCE}"


def _card(source: Path, imported: Imported) -> str:
    """The folder's README: what this is, where it came from, what may be done with it."""
    values = imported.config
    heads, frontend = values["model"]["heads"], values["model"]["frontend"]
    eye = "a ResNet of its own" if frontend.get("kind") == "resnet" else "AV-HuBERT"
    lines = [
        "# Lip to speech by speech units",
        "",
        f"Imported from the official checkpoint `{source.name}`: lip2speech-unit on {eye}.",
        "",
        f"- Licence: {values['licence']}. It travels with these weights.",
        f"- Heads: a conformer of {heads['layers']} layers of {heads['hidden']}; {heads['n_units']} units.",
        "- Rates: 25 video frames a second in; 50 units and 100 mel frames a second out.",
        "- Mel: windows of 640 samples every 160, 80 Slaney bands up to 8 kHz, natural log of magnitudes.",
        f"- Voices: vectors of {heads['speaker_dim']} numbers of length 1, as the encoder of Real-Time Voice",
        "  Cloning (GE2E, Wan et al. 2018) makes them; give one as FILE.npy.",
        f"- Speaks by: {values['inference']['vocoder']}.",
        "- Source: Choi, Kim and Ro 2023, Intelligible lip-to-speech synthesis with speech units.",
    ]
    if imported.dropped:
        lines += ["", f"Dropped by name ({len(imported.dropped)}):", ""]
        lines += [f"- `{shown(name)}`" for name in imported.dropped]
    return "\n".join(lines) + "\n"
