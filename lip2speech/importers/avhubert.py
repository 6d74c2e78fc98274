"""Official AV-HuBERT checkpoints -> our checkpoint folder.

Reads the pretrained files (base and large) and the fine-tuned lip-reading ones (sequence-to-sequence and
CTC), whose decoder is dropped by name. Every other weight must find its place and every place its weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers.base import Found, Imported, check_claims
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.keymap import KeyMap, count_layers, state_of
from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.masked_prediction import MaskedPredictionHead, MaskedPredictionHeadConfig
from lip2speech.models.frontends.transforms import Transform

HEAD_DIM = 64  # of each attention head, in base and in large
WHAT = "AV-HuBERT"
PREFIXES = (
    "encoder.w2v_model.",
    "w2v_encoder.w2v_model.",
    "",
)  # fine-tuned seq2seq, fine-tuned CTC, pretrained
LICENCE = "AV-HuBERT licence of Meta Platforms: non-commercial research only"

STREAMS: dict[str, str | None] = {
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
BLOCK: dict[str, str | None] = {
    "conv1": "conv1",
    "bn1": "norm1",
    "relu1": "act1",
    "conv2": "conv2",
    "bn2": "norm2",
    "relu2": "act2",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}
LAYER: dict[str, str | None] = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "attention_norm",
    "fc1": "fc1",
    "fc2": "fc2",
    "final_layer_norm": "ffn_norm",
}
CLUSTERS: dict[str, str | None] = {
    "final_proj": "clusters.proj",
    "label_embs_concat": "clusters.embeddings",
    "mask_emb": "clusters.mask_embedding",
}
DROPPED: dict[str, str | None] = {"decoder": None, "w2v_encoder.proj": None}
"""Parts of fine-tuned files that write text; a lip-to-speech model has no use for them."""
EXPECTED_SETTINGS = {"layer_norm_first": True, "modality_fuse": "concat", "activation_fn": "gelu"}
"""What the published models share and our encoder does; a file that says otherwise is refused."""
SETTINGS = (("model", "w2v_args", "model"), ("model", "w2v_args"), ("model",))
"""Where the encoder's settings lie: in a fine-tuned file those of its pretraining come first."""


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
        heads: attention heads, where neither the file nor a head size of 64 tells.
        pretrained: the file `source` was fine-tuned from, which tells its heads.
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
    check_claims(file.model, file.path)
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in file.model))
    encoder = read_encoder(file, prefix, heads or heads_of(file, pretrained))
    values: dict[str, Any] = {
        "kind": "avhubert",
        "frontend": config.to_dict(encoder.frontend),
        "transform": config.to_dict(Transform()),
        "licence": LICENCE,
    }
    if encoder.clusters is not None:
        values["clusters"] = config.to_dict(encoder.clusters)
    return Imported(values, encoder.tensors, encoder.dropped)


@dataclass(frozen=True)
class Encoder:
    """An AV-HuBERT as a file holds it.

    tensors: under our names, `frontend.` and, with a cluster head, `clusters.` before them.
    """

    frontend: AVHubertConfig
    clusters: MaskedPredictionHeadConfig | None
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


def read_encoder(file: FairseqCheckpoint, prefix: str, heads: int | None) -> Encoder:
    """The encoder whose names begin with `prefix`; every weight of the file must belong to it.

    What is left of the cluster head after fine-tuning, which every prefix tells of, is dropped by name.
    """
    layers = count_layers(file.model, f"{prefix}encoder.layers.", file.path, WHAT)
    keys = KeyMap(file.path, WHAT, key_map(layers), prefix)
    found, dropped = keys.translate(file.model, DROPPED)
    frontend = infer_config(found, keys, file, heads)
    clusters = None
    if prefix:  # the projection to the clusters is gone, and with it the use of the rest
        dropped += [foreign for name, (foreign, _) in found.items() if name.startswith("clusters.")]
        found = {name: pair for name, pair in found.items() if not name.startswith("clusters.")}
    else:
        clusters = _cluster_config(found, keys, frontend)
    with torch.device("meta"):  # shapes without memory: the file's sizes are not to be trusted yet
        expected = state_of(frontend=AVHubert(frontend))
        if clusters is not None:
            expected |= state_of(clusters=MaskedPredictionHead(clusters))
    return Encoder(frontend, clusters, keys.fit(found, expected), tuple(sorted(dropped)))


def key_map(n_layers: int) -> dict[str, str | None]:
    """Foreign module (or weight) name -> ours, for an encoder of `n_layers`."""
    table = {**STREAMS, **CLUSTERS, **trunk_map("feature_extractor_video.resnet.trunk")}
    for layer in range(n_layers):
        theirs, ours = f"encoder.layers.{layer}", f"frontend.encoder.layers.{layer}"
        table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in LAYER.items()}
    return table


def trunk_map(trunk: str) -> dict[str, str | None]:
    """Foreign module name -> ours, for a ResNet-18 trunk that is called `trunk`."""
    table: dict[str, str | None] = {}
    for stage in range(4):
        for block in range(2):
            theirs = f"{trunk}.layer{stage + 1}.{block}"
            ours = f"frontend.resnet.trunk.stages.{stage}.{block}"
            table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in BLOCK.items()}
    return table


def infer_config(found: Found, keys: KeyMap, file: FairseqCheckpoint, heads: int | None) -> AVHubertConfig:
    """The sizes, read from the weights' shapes; heads and activation, which no shape shows, from settings."""
    path = file.path
    embed_dim, ffn_dim = keys.shape(found, "frontend.encoder.layers.0.fc2.weight", 2)
    positions = keys.shape(found, "frontend.encoder.positions.weight_v", 3)
    if embed_dim % positions[1]:
        raise ForeignFileError(
            f"{path}: {found['frontend.encoder.positions.weight_v'][0]}: impossible groups."
        )
    if heads is None and embed_dim % HEAD_DIM == 0:
        heads = embed_dim // HEAD_DIM
    if heads is None or heads < 1 or embed_dim % heads:
        raise ForeignFileError(
            f"{path}: the number of attention heads is not in the file ({heads} for {embed_dim} features); "
            "give heads, or the pretrained file it was made from."
        )
    for name, value in EXPECTED_SETTINGS.items():
        if _setting(file, name) not in (None, value):
            given = shown(_setting(file, name))
            raise ForeignFileError(f"{path}: {name} is {given}; only {value} is supported.")
    activation = _setting(file, "resnet_relu_type") or "prelu"
    if activation not in ("prelu", "relu", "swish"):
        raise ForeignFileError(f"{path}: resnet_relu_type {shown(activation)} is unknown.")
    return AVHubertConfig(
        resnet_width=keys.shape(found, "frontend.resnet.stem.weight", 5)[0],
        activation=activation,
        encoder_layers=count_layers(found, "frontend.encoder.layers.", path, WHAT),
        embed_dim=embed_dim,
        ffn_dim=ffn_dim,
        heads=heads,
        conv_pos=positions[2],
        conv_pos_groups=embed_dim // positions[1],
        audio_feat_dim=keys.shape(found, "frontend.audio_proj.weight", 2)[1],
    )


def _cluster_config(found: Found, keys: KeyMap, frontend: AVHubertConfig) -> MaskedPredictionHeadConfig:
    """Sizes of the cluster head."""
    rows, final_dim = keys.shape(found, "clusters.embeddings", 2)
    mask_dim = keys.shape(found, "clusters.mask_embedding", 1)[0]
    return MaskedPredictionHeadConfig(frontend.embed_dim, final_dim, rows, mask_dim)


def heads_of(file: FairseqCheckpoint, pretrained: str | Path | None = None) -> int | None:
    """Attention heads as the settings tell, those of the file itself or of the one it was fine-tuned from."""
    value = _setting(file, "encoder_attention_heads")
    if type(value) is int:
        return value
    return heads_of(read_fairseq(pretrained)) if pretrained else None


def _setting(file: FairseqCheckpoint, name: str) -> Any:
    """A setting of the encoder, or None."""
    return next((v for names in SETTINGS if (v := file.setting(*names, name)) is not None), None)


def _card(source: Path, imported: Imported) -> str:
    """The folder's README: what this is, where it came from, what may be done with it."""
    sizes = imported.config["frontend"]
    lines = [
        "# AV-HuBERT encoder",
        "",
        f"Imported from the official checkpoint `{source.name}`.",
        "",
        f"- Licence: {LICENCE}. It travels with these weights.",
        f"- Encoder: {sizes['encoder_layers']} layers of {sizes['embed_dim']}, {sizes['heads']} heads.",
        "- Rates: 25 video frames a second in, 25 feature vectors a second out.",
        "- Source: Shi, Hsu, Lakhotia and Mohamed 2022, Learning audio-visual speech representation by",
        "  masked multimodal cluster prediction.",
    ]
    if imported.dropped:
        lines += ["", f"Dropped by name ({len(imported.dropped)}):", ""]
        lines += [f"- `{shown(name)}`" for name in imported.dropped]
    return "\n".join(lines) + "\n"
