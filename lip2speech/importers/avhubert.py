"""Official AV-HuBERT checkpoints -> our checkpoint folder.

Reads the pretrained files (base and large) and the fine-tuned lip-reading ones (sequence-to-sequence and
CTC), whose decoder is dropped by name. Every other weight of the file and of our model must be matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers.base import Imported, RenamedWeights, model_card
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.foreign_file import ForeignFileError, printable
from lip2speech.importers.keymap import KeyMap, count_layers, prefixed_state_dict
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.models.frontends.transforms import Transform

HEAD_DIM = 64  # of each attention head, in base and in large
MODEL_NAME = "AV-HuBERT"
PREFIXES = ("encoder.w2v_model.", "w2v_encoder.w2v_model.", "")
"""Of a fine-tuned sequence-to-sequence file, a fine-tuned CTC file, a pretrained file."""
LICENCE = "AV-HuBERT licence of Meta Platforms: non-commercial research only"

FRONTEND_KEYS: dict[str, str | None] = {
    "feature_extractor_video.resnet.frontend3D.0": "frontend.resnet.stem",
    "feature_extractor_video.resnet.frontend3D.1": "frontend.resnet.norm",
    "feature_extractor_video.resnet.frontend3D.2": "frontend.resnet.act",
    "feature_extractor_video.proj": "frontend.video_proj",
    "feature_extractor_audio.proj": "frontend.audio_proj",
    "layer_norm": "frontend.fusion_norm",
    "post_extract_proj": "frontend.fusion_proj",
    "encoder.pos_conv.0": "frontend.encoder.positions",
    "encoder.layer_norm": "frontend.encoder.norm",
}
BLOCK_KEYS: dict[str, str | None] = {
    "conv1": "conv1",
    "bn1": "norm1",
    "relu1": "act1",
    "conv2": "conv2",
    "bn2": "norm2",
    "relu2": "act2",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}
LAYER_KEYS: dict[str, str | None] = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "attention_norm",
    "fc1": "fc1",
    "fc2": "fc2",
    "final_layer_norm": "ffn_norm",
}
CLUSTER_KEYS: dict[str, str | None] = {
    "final_proj": "clusters.proj",
    "label_embs_concat": "clusters.embeddings",
    "mask_emb": "clusters.mask_embedding",
}
DROPPED = ("decoder", "w2v_encoder.proj")
"""Modules of fine-tuned files that output text, which a lip-to-speech model does not use."""
EXPECTED_SETTINGS = {"layer_norm_first": True, "modality_fuse": "concat", "activation_fn": "gelu"}
"""Settings of the published models that our encoder implements; a file with others is refused."""
SETTINGS = (("model", "w2v_args", "model"), ("model", "w2v_args"), ("model",))
"""Places of the encoder's settings: a fine-tuned file has those of its pretraining, which come first."""


def import_avhubert(
    source: str | Path,
    out: str | Path,
    *,
    heads: int | None = None,
    pretrained: str | Path | None = None,
    overwrite: bool = False,
    fp16: bool = False,
) -> Imported:
    """Write the official checkpoint `source` as our checkpoint folder `out`.

    Args:
        source: the official file.
        out: the folder to write.
        heads: attention heads, if they are not in the file and the head size is not 64.
        pretrained: the file that `source` was fine-tuned from, to read the number of heads from.
        overwrite: replace a checkpoint folder.
        fp16: store float16.
    """
    imported = read_avhubert(source, heads=heads, pretrained=pretrained)
    text = _card(Path(source), imported)
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_avhubert(
    source: str | Path, *, heads: int | None = None, pretrained: str | Path | None = None
) -> Imported:
    """The config and tensors of an official checkpoint, in our names; tensors are float32."""
    file = read_fairseq(source)
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in file.model))
    encoder = read_encoder(file, prefix, heads or find_heads(file, pretrained))
    values: dict[str, Any] = {
        "kind": "avhubert",
        "frontend": config.to_dict(encoder.frontend),
        "transform": config.to_dict(Transform()),
        "licence": LICENCE,
    }
    if encoder.clusters is not None:
        values["clusters"] = config.to_dict(encoder.clusters)
    return Imported(values, encoder.tensors, encoder.dropped, file.notes)


@dataclass(frozen=True)
class ImportedEncoder:
    """An AV-HuBERT encoder as read from a file.

    Attributes:
        frontend: its config.
        clusters: config of the masked-prediction head, None after fine-tuning.
        tensors: weights under our names, with `frontend.` and `clusters.` in front.
        dropped: foreign names of weights that we have no use for.
    """

    frontend: AVHubertConfig
    clusters: MaskedPredictionHeadConfig | None
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


def read_encoder(file: FairseqCheckpoint, prefix: str, heads: int | None) -> ImportedEncoder:
    """The encoder whose names begin with `prefix`; every weight of the file must belong to it.

    Fine-tuned files (those with a prefix) still have a part of the masked-prediction head, which is dropped.
    """
    layers = count_layers(file.model, f"{prefix}encoder.layers.", file.path, MODEL_NAME)
    keys = KeyMap(file.path, MODEL_NAME, key_map(layers), prefix)
    found, dropped = keys.translate(file.model, DROPPED)
    frontend = infer_config(found, keys, file, heads)
    clusters = None
    if prefix:  # the projection to the clusters is gone, so the rest of the head is of no use
        dropped += [foreign for name, (foreign, _) in found.items() if name.startswith("clusters.")]
        found = {name: pair for name, pair in found.items() if not name.startswith("clusters.")}
    else:
        clusters = cluster_config(found, keys, frontend.embed_dim)
    with torch.device("meta"):  # shapes without memory: the file's sizes are not trusted yet
        expected = prefixed_state_dict(frontend=AVHubert(frontend))
        if clusters is not None:
            expected |= prefixed_state_dict(clusters=MaskedPredictionHead(clusters))
    return ImportedEncoder(frontend, clusters, keys.match(found, expected), tuple(sorted(dropped)))


def key_map(n_layers: int) -> dict[str, str | None]:
    """Foreign module (or weight) name -> ours, for an encoder of `n_layers`."""
    table = {**FRONTEND_KEYS, **CLUSTER_KEYS, **trunk_map("feature_extractor_video.resnet.trunk")}
    for layer in range(n_layers):
        theirs, ours = f"encoder.layers.{layer}", f"frontend.encoder.layers.{layer}"
        table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in LAYER_KEYS.items()}
    return table


def trunk_map(trunk: str) -> dict[str, str | None]:
    """Foreign module name -> ours, for a ResNet-18 trunk with the foreign name `trunk`."""
    table: dict[str, str | None] = {}
    for stage in range(4):
        for block in range(2):
            theirs = f"{trunk}.layer{stage + 1}.{block}"
            ours = f"frontend.resnet.trunk.stages.{stage}.{block}"
            table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in BLOCK_KEYS.items()}
    return table


def infer_config(
    found: RenamedWeights, keys: KeyMap, file: FairseqCheckpoint, heads: int | None
) -> AVHubertConfig:
    """The sizes from the shapes of the weights; the activation, which they do not show, from the settings."""
    path = file.path
    embed_dim, ffn_dim = keys.shape(found, "frontend.encoder.layers.0.fc2.weight", 2)
    positions = keys.shape(found, "frontend.encoder.positions.weight_v", 3)
    if embed_dim % positions[1]:
        name = found["frontend.encoder.positions.weight_v"][0]
        raise ForeignFileError(f"{path}: {name}: impossible groups.")
    if heads is None and embed_dim % HEAD_DIM == 0:
        heads = embed_dim // HEAD_DIM
    if heads is None or heads < 1 or embed_dim % heads:
        raise ForeignFileError(
            f"{path}: the number of attention heads is not in the file ({heads} for {embed_dim} features); "
            "give heads, or the pretrained file it was fine-tuned from."
        )
    return AVHubertConfig(
        resnet_width=keys.shape(found, "frontend.resnet.stem.weight", 5)[0],
        activation=_activation(file),
        encoder_layers=count_layers(found, "frontend.encoder.layers.", path, MODEL_NAME),
        embed_dim=embed_dim,
        ffn_dim=ffn_dim,
        heads=heads,
        conv_pos=positions[2],
        conv_pos_groups=embed_dim // positions[1],
        audio_feat_dim=keys.shape(found, "frontend.audio_proj.weight", 2)[1],
    )


def cluster_config(found: RenamedWeights, keys: KeyMap, embed_dim: int) -> MaskedPredictionHeadConfig:
    """Sizes of the masked-prediction head."""
    rows, final_dim = keys.shape(found, "clusters.embeddings", 2)
    mask_dim = keys.shape(found, "clusters.mask_embedding", 1)[0]
    return MaskedPredictionHeadConfig(embed_dim, final_dim, rows, mask_dim)


def find_heads(file: FairseqCheckpoint, pretrained: str | Path | None = None) -> int | None:
    """Attention heads from the settings of the file, or of the one it was fine-tuned from."""
    value = _setting(file, "encoder_attention_heads")
    if type(value) is int:
        return value
    return find_heads(read_fairseq(pretrained)) if pretrained else None


def _activation(file: FairseqCheckpoint) -> Any:
    """The activation of the ResNet, after checking the settings that all published models share."""
    for name, value in EXPECTED_SETTINGS.items():
        if _setting(file, name) not in (None, value):
            given = printable(_setting(file, name))
            raise ForeignFileError(f"{file.path}: {name} is {given}; only {value} is supported.")
    activation = _setting(file, "resnet_relu_type") or "prelu"
    if activation not in ("prelu", "relu", "swish"):
        raise ForeignFileError(
            f"{file.path}: resnet_relu_type {printable(activation)} is unknown; expected prelu, relu, swish."
        )
    return activation


def _setting(file: FairseqCheckpoint, name: str) -> Any:
    """A setting of the encoder, or None."""
    return next((v for names in SETTINGS if (v := file.setting(*names, name)) is not None), None)


def _card(source: Path, imported: Imported) -> str:
    sizes = imported.config["frontend"]
    facts = (
        f"Licence: {LICENCE}. It also applies to these weights.",
        f"Encoder: {sizes['encoder_layers']} layers of {sizes['embed_dim']}, {sizes['heads']} heads.",
        "Frame rate: 25 Hz, one feature vector per video frame.",
        "Source: Shi, Hsu, Lakhotia and Mohamed 2022, Learning audio-visual speech representation by masked\n"
        "  multimodal cluster prediction.",
    )
    origin = f"Imported from the official checkpoint `{source.name}`."
    return model_card("AV-HuBERT encoder", origin, facts, imported.dropped)
