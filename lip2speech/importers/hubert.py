"""Official HuBERT base checkpoints and their k-means -> our checkpoint folder.

Reads the pretrained file of fairseq, or one fine-tuned to write text, whose last projection is dropped by
name; with the k-means of its features beside it (`km.bin`) the folder is a unit teacher too. Every other
weight must find its place and every place its weight. The large models norm in other places and want
normalised sound: they are refused by the setting that says so.
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
from lip2speech.importers.base import Found, Imported, check_claims
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.keymap import KeyMap, count_layers, state_of
from lip2speech.importers.kmeans import read_kmeans
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.models.hubert import Hubert, HubertConfig

WHAT = "HuBERT base"
HEAD_DIM = 64  # of each attention head in the published model
UNIT_LAYER = HubertTokenizerConfig().feature_layer
LICENCE = "MIT licence of fairseq (Meta Platforms), which says that it covers its pretrained models"

PREFIXES = ("w2v_encoder.w2v_model.", "")  # fine-tuned, pretrained
PARTS = {
    "feature_extractor.conv_layers.0.2": "hubert.feature_extractor.norm",
    "layer_norm": "hubert.feature_norm",
    "post_extract_proj": "hubert.proj",
    "encoder.pos_conv.0": "hubert.encoder.positions",
    "encoder.layer_norm": "hubert.encoder.norm",
    "final_proj": "clusters.proj",
    "label_embs_concat": "clusters.embeddings",
    "mask_emb": "clusters.mask_embedding",
}
NUMBERED = {
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
"""How the names of numbered parts begin -> the same within one part, {} being its number."""
DROPPED: dict[str, str | None] = {"w2v_encoder.proj": None}
"""The part of fine-tuned files that writes text; units have no use for it."""
EXPECTED_SETTINGS = {
    ("model", "layer_norm_first"): False,
    ("model", "extractor_mode"): "default",
    ("model", "activation_fn"): "gelu",
    ("task", "normalize"): False,
    ("task", "sample_rate"): SAMPLE_RATE,
}
"""What the base model is and our encoder does; a file that says otherwise is refused."""
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
        kmeans: the `km.bin` of the units; without one the folder gives features alone.
        layer: whose features the k-means clusters, counted from 1; nothing in its file tells.
        heads: attention heads, where neither the file nor a head size of 64 tells.
        fp16: store float16; units near the border of two may then change.
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
    check_claims(file.model, file.path)
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in file.model))
    keys = KeyMap(file.path, WHAT, key_map(file, prefix), prefix)
    found, dropped = keys.translate(file.model, DROPPED)
    sizes = infer_config(found, keys, file, heads)
    values: dict[str, Any] = {"kind": "hubert", "hubert": config.to_dict(sizes)}
    with torch.device("meta"):  # shapes without memory: the file's sizes are not to be trusted yet
        expected = state_of(hubert=Hubert(sizes))
    if prefix:  # the projection to the clusters is gone, and with it the use of the rest
        dropped += [foreign for name, (foreign, _) in found.items() if name.startswith("clusters.")]
        found = {name: pair for name, pair in found.items() if not name.startswith("clusters.")}
    else:
        clusters = _cluster_config(found, keys, sizes)
        values["clusters"] = config.to_dict(clusters)
        with torch.device("meta"):
            expected |= state_of(clusters=MaskedPredictionHead(clusters))
    tensors = keys.fit(found, expected)
    values["licence"] = LICENCE
    if kmeans is not None:
        tensors["centroids"] = _centroids(kmeans, layer, sizes)
        values["units"] = config.to_dict(HubertTokenizerConfig(layer, len(tensors["centroids"])))
    return Imported(values, tensors, tuple(sorted(dropped)))


def key_map(file: FairseqCheckpoint, prefix: str = "") -> dict[str, str]:
    """Foreign module (or weight) name -> ours, for the convolutions and layers that the file numbers."""
    table = dict(PARTS)
    for begin, names in NUMBERED.items():
        for number in range(count_layers(file.model, f"{prefix}{begin}", file.path, WHAT)):
            table |= {f"{begin}{number}.{theirs}": ours.format(number) for theirs, ours in names.items()}
    return table


def infer_config(found: Found, keys: KeyMap, file: FairseqCheckpoint, heads: int | None) -> HubertConfig:
    """The sizes, read from the weights' shapes; heads and strides, which no shape shows, from settings."""
    _check_settings(file)
    layers = count_layers(found, "hubert.encoder.layers.", file.path, WHAT)
    convs = count_layers(found, "hubert.feature_extractor.convs.", file.path, WHAT)
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


def _cluster_config(found: Found, keys: KeyMap, sizes: HubertConfig) -> MaskedPredictionHeadConfig:
    """Sizes of the cluster head."""
    rows, final_dim = keys.shape(found, "clusters.embeddings", 2)
    mask_dim = keys.shape(found, "clusters.mask_embedding", 1)[0]
    return MaskedPredictionHeadConfig(sizes.embed_dim, final_dim, rows, mask_dim)


def _check_settings(file: FairseqCheckpoint) -> None:
    """Raise unless what the file says of itself is what our encoder does."""
    for (group, name), value in EXPECTED_SETTINGS.items():
        found = _setting(file, group, name)
        if found not in (None, value):
            raise ForeignFileError(
                f"{file.path}: {name} is {shown(found)}; only {value} is supported, as in {WHAT}."
            )


def _setting(file: FairseqCheckpoint, group: str, name: str) -> Any:
    """A setting, or None; in a fine-tuned file those of its pretraining come first."""
    places = (("model", "w2v_args", group), ("model", "w2v_args"), (group,))
    return next((v for names in places if (v := file.setting(*names, name)) is not None), None)


def _heads(file: FairseqCheckpoint, embed_dim: int, heads: int | None) -> int:
    """Attention heads: given, as the settings tell, or of the published head size."""
    stored = _setting(file, "model", "encoder_attention_heads")
    if heads is None:
        heads = stored if type(stored) is int else embed_dim // HEAD_DIM
    if heads < 1 or embed_dim % heads:
        raise ForeignFileError(
            f"{file.path}: {heads} attention heads do not share {embed_dim} features; give heads."
        )
    return heads


def _strides(file: FairseqCheckpoint, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The convolutions' strides, from the expression that fairseq would evaluate; the base model's without.

    Channels and kernels are in it too, and must be those of the weights.
    """
    stored = _setting(file, "model", "conv_feature_layers")
    default = HubertConfig()
    kernels = tuple(shape[2] for shape in shapes)
    if stored is None and kernels == default.conv_kernels:
        return default.conv_strides
    convs = parse_convs(stored) if isinstance(stored, str) else None
    if convs is None or [conv[:2] for conv in convs] != [(shape[0], shape[2]) for shape in shapes]:
        raise ForeignFileError(
            f"{file.path}: conv_feature_layers {shown(stored)} does not tell the strides of {len(shapes)} "
            f"convolutions of kernels {kernels}."
        )
    return tuple(conv[2] for conv in convs)


def parse_convs(text: str) -> list[tuple[int, int, int]] | None:
    """(channels, kernel, stride) of each convolution of "[(512,10,5)] + [(512,3,2)] * 4"; None: not so."""
    convs: list[tuple[int, int, int]] = []
    for term in text.replace(" ", "").split("+"):
        match = CONV_TERM.fullmatch(term)
        if match is None or len(convs) > MAX_CONVS:
            return None
        numbers = [int(number) for number in re.findall(r"\d+", match[1])]
        convs += list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)) * int(match[2] or 1)
    return convs if all(min(conv) > 0 for conv in convs) else None


def _centroids(kmeans: str | Path, layer: int, sizes: HubertConfig) -> Tensor:
    """The units' centroids (K, C), for a layer that the encoder has."""
    if not 1 <= layer <= sizes.encoder_layers:
        raise ValueError(
            f"layer must be in 1..{sizes.encoder_layers}, got {layer}; give the layer that was clustered."
        )
    return read_kmeans(kmeans, sizes.embed_dim)


def _card(source: Path, kmeans: Path | None, imported: Imported) -> str:
    """The folder's README: what this is, where it came from, what may be done with it."""
    sizes, units = imported.config["hubert"], imported.config.get("units")
    lines = [
        "# HuBERT encoder",
        "",
        f"Imported from the official checkpoint `{source.name}`.",
        "",
        f"- Licence: {LICENCE}. It travels with these weights.",
        f"- Encoder: {sizes['encoder_layers']} layers of {sizes['embed_dim']}, {sizes['heads']} heads.",
        "- Rates: sound at 16000 Hz in, 50 feature vectors a second out.",
        "- Source: Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov and Mohamed 2021, HuBERT: self-supervised",
        "  speech representation learning by masked prediction of hidden units.",
    ]
    if units is not None and kmeans is not None:
        lines.append(
            f"- Units: {units['n_units']} centroids of layer {units['feature_layer']}, from `{kmeans.name}`."
        )
    if imported.dropped:
        lines += ["", f"Dropped by name ({len(imported.dropped)}):", ""]
        lines += [f"- `{shown(name)}`" for name in imported.dropped]
    return "\n".join(lines) + "\n"
