"""Official HuBERT base checkpoints and their k-means -> our checkpoint folder.

Reads the pretrained file of fairseq, or one fine-tuned for recognition, whose output projection is dropped by
name; with the k-means of its features (`km.bin`) the folder is a unit tokenizer as well. Every other weight
of the file and of our model must be matched. The large models (pre-norm, normalised input) are refused by the
setting that says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.unit_tokenizers import HubertTokenizerConfig
from lip2speech.importers.avhubert import cluster_config
from lip2speech.importers.base import Imported, RenamedWeights, model_card
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError, printable
from lip2speech.importers.keymap import KeyMap, count_layers, prefixed_state_dict
from lip2speech.importers.kmeans import read_kmeans
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead
from lip2speech.models.hubert import Hubert, HubertConfig

MODEL_NAME = "HuBERT base"
HEAD_DIM = 64  # of each attention head in the published model
UNIT_LAYER = HubertTokenizerConfig().feature_layer
LICENCE = "MIT licence of fairseq (Meta Platforms), which says that it covers its pretrained models"

PREFIXES = ("w2v_encoder.w2v_model.", "")  # fine-tuned, pretrained
MODULE_KEYS = {
    "feature_extractor.conv_layers.0.2": "hubert.feature_extractor.norm",
    "layer_norm": "hubert.feature_norm",
    "post_extract_proj": "hubert.proj",
    "encoder.pos_conv.0": "hubert.encoder.positions",
    "encoder.layer_norm": "hubert.encoder.norm",
    "final_proj": "clusters.proj",
    "label_embs_concat": "clusters.embeddings",
    "mask_emb": "clusters.mask_embedding",
}
NUMBERED_KEYS: dict[str, dict[str, str]] = {
    "feature_extractor.conv_layers.": {"0": "hubert.feature_extractor.convs.{}"},
    "encoder.layers.": {
        "self_attn.q_proj": "hubert.encoder.layers.{}.attention.q_proj",
        "self_attn.k_proj": "hubert.encoder.layers.{}.attention.k_proj",
        "self_attn.v_proj": "hubert.encoder.layers.{}.attention.v_proj",
        "self_attn.out_proj": "hubert.encoder.layers.{}.attention.out_proj",
        "self_attn_layer_norm": "hubert.encoder.layers.{}.attention_norm",
        "fc1": "hubert.encoder.layers.{}.fc1",
        "fc2": "hubert.encoder.layers.{}.fc2",
        "final_layer_norm": "hubert.encoder.layers.{}.ffn_norm",
    },
}
"""Prefix of numbered modules -> the names within one of them; {} is its number."""
DROPPED = ("w2v_encoder.proj",)
"""The module of fine-tuned files that outputs text, which units do not use."""
EXPECTED_SETTINGS = {
    ("model", "layer_norm_first"): False,
    ("model", "extractor_mode"): "default",
    ("model", "activation_fn"): "gelu",
    ("task", "normalize"): False,
    ("task", "sample_rate"): SAMPLE_RATE,
}
"""Settings of the base model that our encoder implements; a file with others is refused."""
CONV_TERM = re.compile(r"\[((?:\(\d{1,5},\d{1,5},\d{1,5}\),?)+)\](?:\*(\d{1,2}))?")
MAX_CONVS = 64


def import_hubert(
    source: str | Path,
    out: str | Path,
    *,
    kmeans: str | Path | None = None,
    layer: int = UNIT_LAYER,
    heads: int | None = None,
    overwrite: bool = False,
    fp16: bool = False,
) -> Imported:
    """Write the official checkpoint `source` as our checkpoint folder `out`.

    Args:
        source: the official file.
        out: the folder to write.
        kmeans: the `km.bin` of the units; without it the folder extracts features only.
        layer: the layer whose features were clustered, counted from 1; `km.bin` does not record it.
        heads: attention heads, if they are not in the file and the head size is not 64.
        overwrite: replace a checkpoint folder.
        fp16: store float16; a feature near the boundary of two units may then change its unit.
    """
    imported = read_hubert(source, kmeans=kmeans, layer=layer, heads=heads)
    text = _card(Path(source), None if kmeans is None else Path(kmeans), imported)
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_hubert(
    source: str | Path,
    *,
    kmeans: str | Path | None = None,
    layer: int = UNIT_LAYER,
    heads: int | None = None,
) -> Imported:
    """The config and tensors of an official checkpoint and its k-means, in our names; float32."""
    file = read_fairseq(source)
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in file.model))
    keys = KeyMap(file.path, MODEL_NAME, key_map(file, prefix), prefix)
    found, dropped = keys.translate(file.model, DROPPED)
    sizes = infer_config(found, keys, file, heads)
    values: dict[str, Any] = {"kind": "hubert", "hubert": config.to_dict(sizes)}
    with torch.device("meta"):  # shapes without memory: the file's sizes are not trusted yet
        expected = prefixed_state_dict(hubert=Hubert(sizes))
    if prefix:  # the projection to the clusters is gone, so the rest of the head is of no use
        dropped += [foreign for name, (foreign, _) in found.items() if name.startswith("clusters.")]
        found = {name: pair for name, pair in found.items() if not name.startswith("clusters.")}
    else:
        clusters = cluster_config(found, keys, sizes.embed_dim)
        values["clusters"] = config.to_dict(clusters)
        with torch.device("meta"):
            expected |= prefixed_state_dict(clusters=MaskedPredictionHead(clusters))
    tensors = keys.match(found, expected)
    values["licence"] = LICENCE
    if kmeans is not None:
        tensors["centroids"] = _centroids(kmeans, layer, sizes)
        values["units"] = config.to_dict(HubertTokenizerConfig(layer, len(tensors["centroids"])))
    return Imported(values, tensors, tuple(sorted(dropped)), file.notes)


def key_map(file: FairseqCheckpoint, prefix: str = "") -> dict[str, str]:
    """Foreign module (or weight) name -> ours, for the convolutions and layers that the file numbers."""
    table = dict(MODULE_KEYS)
    for group, names in NUMBERED_KEYS.items():
        for number in range(count_layers(file.model, f"{prefix}{group}", file.path, MODEL_NAME)):
            table |= {f"{group}{number}.{theirs}": ours.format(number) for theirs, ours in names.items()}
    return table


def infer_config(
    found: RenamedWeights, keys: KeyMap, file: FairseqCheckpoint, heads: int | None
) -> HubertConfig:
    """The sizes from the shapes of the weights; heads and strides, which they do not show, from settings."""
    _check_settings(file)
    layers = count_layers(found, "hubert.encoder.layers.", file.path, MODEL_NAME)
    convs = count_layers(found, "hubert.feature_extractor.convs.", file.path, MODEL_NAME)
    shapes = [keys.shape(found, f"hubert.feature_extractor.convs.{n}.weight", 3) for n in range(convs)]
    embed_dim, ffn_dim = keys.shape(found, "hubert.encoder.layers.0.fc2.weight", 2)
    positions = keys.shape(found, "hubert.encoder.positions.weight_v", 3)
    if embed_dim % positions[1]:
        foreign = keys.foreign("hubert.encoder.positions.weight_v")
        raise ForeignFileError(f"{file.path}: {foreign}: impossible groups.")
    return HubertConfig(
        conv_dim=shapes[0][0],
        conv_kernels=tuple(shape[2] for shape in shapes),
        conv_strides=_strides(file, shapes),
        encoder_layers=layers,
        embed_dim=embed_dim,
        ffn_dim=ffn_dim,
        heads=_heads(file, embed_dim, heads),
        conv_pos=positions[2],
        conv_pos_groups=embed_dim // positions[1],
    )


def _check_settings(file: FairseqCheckpoint) -> None:
    for (group, name), value in EXPECTED_SETTINGS.items():
        found = _setting(file, group, name)
        if found not in (None, value):
            raise ForeignFileError(
                f"{file.path}: {name} is {printable(found)}; only {value} is supported, as in {MODEL_NAME}."
            )


def _setting(file: FairseqCheckpoint, group: str, name: str) -> Any:
    """A setting, or None; in a fine-tuned file those of its pretraining come first."""
    places = (("model", "w2v_args", group), ("model", "w2v_args"), (group,))
    return next((v for names in places if (v := file.setting(*names, name)) is not None), None)


def _heads(file: FairseqCheckpoint, embed_dim: int, heads: int | None) -> int:
    """Attention heads: as given, from the settings, or of the published head size."""
    stored = _setting(file, "model", "encoder_attention_heads")
    if heads is None:
        heads = stored if type(stored) is int else embed_dim // HEAD_DIM
    if heads < 1 or embed_dim % heads:
        raise ForeignFileError(
            f"{file.path}: {heads} attention heads do not divide {embed_dim} features; give heads."
        )
    return heads


def _strides(file: FairseqCheckpoint, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The convolutions' strides, from the expression that fairseq evaluates; by default the base model's.

    Its channels and kernels must be those of the weights.
    """
    stored = _setting(file, "model", "conv_feature_layers")
    default = HubertConfig()
    kernels = tuple(shape[2] for shape in shapes)
    if stored is None and kernels == default.conv_kernels:
        return default.conv_strides
    convs = parse_convs(stored) if isinstance(stored, str) else None
    if convs is None or [conv[:2] for conv in convs] != [(shape[0], shape[2]) for shape in shapes]:
        raise ForeignFileError(
            f"{file.path}: conv_feature_layers {printable(stored)} does not give the strides of "
            f"{len(shapes)} convolutions of kernels {kernels}."
        )
    return tuple(conv[2] for conv in convs)


def parse_convs(text: str) -> list[tuple[int, int, int]] | None:
    """(channels, kernel, stride) of each convolution in "[(512,10,5)] + [(512,3,2)] * 4"; None if invalid."""
    convs: list[tuple[int, int, int]] = []
    for term in text.replace(" ", "").split("+"):
        match = CONV_TERM.fullmatch(term)
        if match is None or len(convs) > MAX_CONVS:
            return None
        numbers = [int(number) for number in re.findall(r"\d+", match[1])]
        convs += list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)) * int(match[2] or 1)
    return convs if all(min(conv) > 0 for conv in convs) else None


def _centroids(kmeans: str | Path, layer: int, sizes: HubertConfig) -> Tensor:
    """The units' centroids (K, C), for a layer of the encoder."""
    if not 1 <= layer <= sizes.encoder_layers:
        raise ValueError(
            f"layer must be in 1..{sizes.encoder_layers}, got {layer}; give the layer that was clustered."
        )
    return read_kmeans(kmeans, sizes.embed_dim)


def _card(source: Path, kmeans: Path | None, imported: Imported) -> str:
    sizes, units = imported.config["hubert"], imported.config.get("units")
    facts = [
        f"Licence: {LICENCE}. It also applies to these weights.",
        f"Encoder: {sizes['encoder_layers']} layers of {sizes['embed_dim']}, {sizes['heads']} heads.",
        "Frame rate: 50 Hz, for audio at 16 kHz.",
        "Source: Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov and Mohamed 2021, HuBERT: self-supervised speech\n"
        "  representation learning by masked prediction of hidden units.",
    ]
    if units is not None and kmeans is not None:
        layer = units["feature_layer"]
        facts.append(f"Units: {units['n_units']} centroids of layer {layer}, from `{kmeans.name}`.")
    origin = f"Imported from the official checkpoint `{source.name}`."
    return model_card("HuBERT encoder", origin, facts, imported.dropped)
