"""Public EnCodec files with the golden weights: the official state dict and the transformers folder."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.codecs import golden

PARTS = ("encoder.", "decoder.", "quantizer.")


def official(name: str = "full_24k_causal") -> dict[str, Tensor]:
    """A golden state dict under the official names."""
    return {key: tensor for key, tensor in golden.read(name)[1].items() if key.startswith(PARTS)}


def transformers_name(key: str, *, old: bool = False) -> str:
    """transformers' name of an official weight; `old`: with the weight norm names of PyTorch 1."""
    for theirs, ours in (
        ("coder.model.", "coder.layers."),
        (".conv.conv.", ".conv."),
        (".convtr.convtr.", ".conv."),
        (".conv.norm.", ".norm."),
        (".convtr.norm.", ".norm."),
        ("quantizer.vq.layers.", "quantizer.layers."),
        ("._codebook.", ".codebook."),
    ):
        key = key.replace(theirs, ours)
    if not old:
        key = key.replace(".weight_g", ".parametrizations.weight.original0")
        key = key.replace(".weight_v", ".parametrizations.weight.original1")
    return key


def settings(name: str = "full_24k_causal") -> dict[str, Any]:
    """The golden config in transformers' keys."""
    config = golden.read(name)[0]
    return {
        "model_type": "encodec",
        "architectures": ["EncodecModel"],
        "target_bandwidths": config["bandwidths"],
        "sampling_rate": config["sample_rate"],
        "audio_channels": config["channels"],
        "normalize": config["normalize"],
        "chunk_length_s": config["segment"],
        "overlap": None if config["segment"] is None else 0.01,
        "hidden_size": config["dimension"],
        "num_filters": config["n_filters"],
        "upsampling_ratios": [8, 5, 4, 2],
        "norm_type": config["norm"],
        "use_causal_conv": config["causal"],
        "codebook_size": config["bins"],
    }


def write_official(path: Path, name: str = "full_24k_causal", **torch_options: Any) -> Path:
    torch.save(official(name), path, **torch_options)
    return path


def write_transformers(
    folder: Path, name: str = "full_24k_causal", *, fmt: str = "model.safetensors", old: bool = False
) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings(name)))
    state = {transformers_name(key, old=old): tensor for key, tensor in official(name).items()}
    if fmt == "model.safetensors":
        save_file(state, folder / fmt, metadata={"format": "pt"})
    else:
        torch.save(state, folder / fmt)
    return folder
