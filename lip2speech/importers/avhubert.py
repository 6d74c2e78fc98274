"""Official AV-HuBERT checkpoints -> our checkpoint folder.

Reads the pretrained files (base and large) and the fine-tuned lip-reading ones (sequence-to-sequence and
CTC), whose decoder is dropped by name. Every other weight must find its place and every place its weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.frontend.avhubert import AVHubert, AVHubertConfig
from lip2speech.frontend.clusters import ClusterHead, ClusterHeadConfig
from lip2speech.frontend.transforms import Transform
from lip2speech.importers.fairseq import FairseqCheckpoint, read_fairseq
from lip2speech.importers.imported import Found, Imported, check_claims, fit, listed
from lip2speech.importers.inert import ForeignFileError, shown

HEAD_DIM = 64  # of each attention head, in base and in large
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
    "mask_emb": "clusters.mask",
}
DROPPED: dict[str, str | None] = {"decoder": None, "w2v_encoder.proj": None}
"""Parts of fine-tuned files that write text; a lip-to-speech model has no use for them."""
EXPECTED_SETTINGS = {"layer_norm_first": True, "modality_fuse": "concat", "activation_fn": "gelu"}
"""What the published models share and our encoder does; a file that says otherwise is refused."""
SETTINGS = (("model", "w2v_args", "model"), ("model", "w2v_args"), ("model",))
"""Where the encoder's settings lie: in a fine-tuned file those of its pretraining come first."""
SPELLINGS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""How PyTorch 2 names a weight norm's two parts."""


def import_avhubert(
    source: str | Path,
    out: str | Path,
    *,
    heads: int | None = None,
    pretrained: str | Path | None = None,
    overwrite: bool = False,
    half: bool = False,
) -> Imported:
    """Write the official checkpoint `source` as our checkpoint folder `out`.

    Args:
        heads: attention heads, where neither the file nor a head size of 64 tells.
        pretrained: the file `source` was fine-tuned from, which tells its heads.
        half: store float16.
    """
    imported = read_avhubert(source, heads=heads, pretrained=pretrained)
    text = _card(Path(source), imported)
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, half=half)
    return imported


def read_avhubert(
    source: str | Path, *, heads: int | None = None, pretrained: str | Path | None = None
) -> Imported:
    """The config and tensors of an official checkpoint, in our names; tensors are float32."""
    file = read_fairseq(source)
    check_claims(file.model, file.path)
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in file.model))
    if heads is None:
        heads = _heads(file) or (_heads(read_fairseq(pretrained)) if pretrained else None)
    found, dropped = translate(file, prefix)
    frontend = infer_config(found, file, heads)
    clusters = None
    if prefix:  # fine-tuned: the projection to the clusters is gone, and with it the use of the rest
        dropped += [foreign for name, (foreign, _) in found.items() if name.startswith("clusters.")]
        found = {name: pair for name, pair in found.items() if not name.startswith("clusters.")}
    else:
        clusters = _cluster_config(found, frontend, file.path)
    tensors = _checked(found, frontend, clusters, file.path)
    values: dict[str, Any] = {
        "kind": "avhubert",
        "frontend": config.to_dict(frontend),
        "transform": config.to_dict(Transform()),
        "licence": LICENCE,
    }
    if clusters is not None:
        values["clusters"] = config.to_dict(clusters)
    return Imported(values, tensors, tuple(sorted(dropped)))


def translate(file: FairseqCheckpoint, prefix: str) -> tuple[Found, list[str]]:
    """Our names for the file's weights, and the names that were dropped; an unknown name is an error."""
    table = key_map(_count_layers(file.model, f"{prefix}encoder.layers.", file.path))
    found: Found = {}
    dropped, unknown = [], []
    for foreign, tensor in file.model.items():
        if any(foreign.startswith(f"{part}.") for part in DROPPED):
            dropped.append(foreign)
            continue
        ours = _rename(foreign.removeprefix(prefix), table) if foreign.startswith(prefix) else None
        if ours is None:
            unknown.append(foreign)
        elif ours in found:
            raise ForeignFileError(
                f"{file.path}: {shown(foreign)} and {shown(found[ours][0])} are one weight."
            )
        else:
            found[ours] = (foreign, tensor)
    if unknown:
        raise ForeignFileError(
            f"{file.path}: {listed(unknown)} not part of AV-HuBERT; is it another model's file?"
        )
    return found, dropped


def key_map(n_layers: int) -> dict[str, str | None]:
    """Foreign module (or weight) name -> ours, for an encoder of `n_layers`."""
    table = {**STREAMS, **CLUSTERS}
    for stage in range(4):
        for block in range(2):
            theirs = f"feature_extractor_video.resnet.trunk.layer{stage + 1}.{block}"
            ours = f"frontend.resnet.trunk.stages.{stage}.{block}"
            table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in BLOCK.items()}
    for layer in range(n_layers):
        theirs, ours = f"encoder.layers.{layer}", f"frontend.encoder.layers.{layer}"
        table |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in LAYER.items()}
    return table


def infer_config(found: Found, file: FairseqCheckpoint, heads: int | None) -> AVHubertConfig:
    """The sizes, read from the weights' shapes; heads and activation, which no shape shows, from settings."""
    path = file.path
    embed_dim, ffn_dim = _shape(found, "frontend.encoder.layers.0.fc2.weight", 2, path)
    positions = _shape(found, "frontend.encoder.positions.weight_v", 3, path)
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
        trunk_width=_shape(found, "frontend.resnet.stem.weight", 5, path)[0],
        activation=activation,
        encoder_layers=_count_layers(found, "frontend.encoder.layers.", path),
        embed_dim=embed_dim,
        ffn_dim=ffn_dim,
        heads=heads,
        conv_pos=positions[2],
        conv_pos_groups=embed_dim // positions[1],
        audio_feat_dim=_shape(found, "frontend.audio_proj.weight", 2, path)[1],
    )


def _cluster_config(found: Found, frontend: AVHubertConfig, path: Path) -> ClusterHeadConfig:
    """Sizes of the cluster head."""
    rows, final_dim = _shape(found, "clusters.embeddings", 2, path)
    mask_dim = _shape(found, "clusters.mask", 1, path)[0]
    return ClusterHeadConfig(frontend.embed_dim, final_dim, rows, mask_dim)


def _checked(
    found: Found, frontend: AVHubertConfig, clusters: ClusterHeadConfig | None, path: Path
) -> dict[str, Tensor]:
    """The weights as float32, once each one's name, shape and values are right."""
    with torch.device("meta"):  # shapes without memory: the file's sizes are not to be trusted yet
        parts = {"frontend": AVHubert(frontend).state_dict()}
        if clusters is not None:
            parts["clusters"] = ClusterHead(clusters).state_dict()
    expected = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    return fit(found, expected, path, "AV-HuBERT", _foreign)


def _rename(name: str, table: Mapping[str, str | None]) -> str | None:
    """Our name for a foreign one: itself in the table, or its module there; None for neither."""
    if name in table:
        return table[name]
    for theirs, ours in SPELLINGS.items():
        name = f"{name.removesuffix(theirs)}{ours}" if name.endswith(theirs) else name
    module, _, leaf = name.rpartition(".")
    target = table.get(module)
    return f"{target}.{leaf}" if target else None


def _foreign(name: str) -> str:
    """The official name of one of our weights, the other way through the key map."""
    layer = name.removeprefix("frontend.encoder.layers.").partition(".")[0]
    table = key_map(int(layer) + 1 if layer.isdigit() else 0)
    back = {ours: theirs for theirs, ours in table.items()}
    module, _, leaf = name.rpartition(".")
    return back[name] if name in back else f"{back[module]}.{leaf}"


def _count_layers(names: Mapping[str, Any], prefix: str, path: Path) -> int:
    """How many layers the names number from 0: counted, as a number in a name may be anything."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix)}
    count = len(numbers)
    if not count or numbers != {str(n) for n in range(count)}:
        raise ForeignFileError(
            f"{path}: {prefix}N: expected layers numbered from 0 without gaps; not AV-HuBERT's file."
        )
    return count


def _shape(found: Found, name: str, dims: int, path: Path) -> tuple[int, ...]:
    """The shape of a weight that tells a size."""
    if name not in found:
        raise ForeignFileError(f"{path}: {_foreign(name)} is missing; the file is incomplete.")
    foreign, tensor = found[name]
    if tensor.dim() != dims or 0 in tensor.shape:
        raise ForeignFileError(
            f"{path}: {foreign}: has shape {tuple(tensor.shape)}, expected {dims} dimensions."
        )
    return tuple(tensor.shape)


def _heads(file: FairseqCheckpoint) -> int | None:
    """Attention heads as the settings tell."""
    value = _setting(file, "encoder_attention_heads")
    return value if type(value) is int else None


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
