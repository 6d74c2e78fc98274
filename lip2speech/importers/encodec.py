"""Public EnCodec weights (Défossez et al. 2022) -> our codec folder.

Reads the official state dict (the 24 kHz `.th` file, or one like it) and the transformers format (a folder of
config.json beside model.safetensors or pytorch_model.bin). Only names change: the tensors and their shapes
are the same on both sides. Sizes are read from the shapes. What shapes do not show (sample rate, causality,
padding) comes from config.json; for a bare state dict it is that of the published models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.checkpoint import build_on_meta
from lip2speech.codecs.encodec import EnCodec, EnCodecConfig
from lip2speech.codecs.quantization import QuantizerConfig
from lip2speech.importers.base import Imported, RenamedWeights, check_expansion, match, model_card, unwrap
from lip2speech.importers.foreign_file import ForeignFileError, printable, read_json, read_safetensors
from lip2speech.importers.torch_file import TorchFile
from lip2speech.modules.seanet import SEANetConfig

KEY_RULES = {
    r"(encoder|decoder)\.(?:model|layers)\.(\d+)\.(.+)": r"\1.layers.\2.\3",
    r"(?:quantizer\.)?vq\.layers\.(\d+)\._codebook\.(.+)": r"quantizer.codebooks.\1.\2",
    r"quantizer\.layers\.(\d+)\.codebook\.(.+)": r"quantizer.codebooks.\1.\2",
}
"""Public name -> ours; the first match is used, and every name must match one."""
LEAF_RULES = {
    r"\b(?:conv\.conv|convtr\.convtr)\.": "conv.",
    r"\b(?:conv|convtr)\.norm\.": "norm.",
    r"\bweight_g$": "parametrizations.weight.original0",
    r"\bweight_v$": "parametrizations.weight.original1",
    r"\bembed$": "entries",
    r"\bembed_avg$": "entries_sum",
}
LICENCE = "as stated where the file was published; EnCodec's code is MIT, its weights not always"
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"
MONO_RATE, STEREO_RATE = 24_000, 48_000  # the two published models

NOT_IN_SHAPES: dict[str, tuple[str, type, Any, float]] = {
    "sampling_rate": ("sample_rate", int, MONO_RATE, 1e6),
    "normalize": ("normalize", bool, False, 1),
    "chunk_length_s": ("segment", float, None, 1e4),
    "overlap": ("overlap", float, None, 0.99),
    "use_causal_conv": ("causal", bool, True, 1),
    "pad_mode": ("pad_mode", str, "reflect", 0),
    "dilation_growth_rate": ("dilation_base", int, 2, 32),
    "trim_right_ratio": ("trim_right_ratio", float, 1.0, 1),
}
"""Key of transformers' config -> ours, its type, default and maximum: what shapes do not show."""
IN_SHAPES: dict[str, tuple[str, Any]] = {
    "audio_channels": ("channels", 1),
    "hidden_size": ("dimension", 128),
    "num_filters": ("n_filters", 32),
    "num_residual_layers": ("n_residual_layers", 1),
    "upsampling_ratios": ("ratios", [8, 5, 4, 2]),
    "kernel_size": ("kernel_size", 7),
    "last_kernel_size": ("last_kernel_size", 7),
    "residual_kernel_size": ("residual_kernel_size", 3),
    "compress": ("compress", 2),
    "num_lstm_layers": ("lstm", 2),
    "norm_type": ("norm", "weight_norm"),
    "codebook_size": ("codebook_size", 1024),
}
"""Key of transformers' config -> ours and its default: what must agree with the shapes."""
PLAIN, NORMED = "conv.weight", "conv.parametrizations.weight.original1"
MAX_LAYERS = 100  # the largest published model has 16
MAX_CODEBOOKS = 128  # published: 32


def import_encodec(
    source: str | Path,
    out: str | Path,
    *,
    settings: str | Path | None = None,
    overwrite: bool = False,
    fp16: bool = False,
) -> Imported:
    """Write an EnCodec as our codec folder `out`.

    Args:
        source: the official state dict, or the folder (or its weights file) that transformers wrote.
        out: the folder to write.
        settings: a config.json of transformers, for a state dict of neither published model.
        overwrite: replace a checkpoint folder.
        fp16: store float16.
    """
    imported = read_encodec(source, settings=settings)
    text = _card(Path(source), imported)
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_encodec(source: str | Path, *, settings: str | Path | None = None) -> Imported:
    """The config and tensors of a public EnCodec, in our names; tensors are float32."""
    path, beside = _find_files(Path(source))
    state, notes = _read_state(path)
    check_expansion(state, path)
    found = _translate(state, path)
    settings = settings or beside
    if settings is None and any(name.startswith("encoder.layers.") for name in state):
        raise ForeignFileError(
            f"{path}: has transformers' names and no {CONFIG} beside it; put that file there."
        )
    sizes = infer_config(found, path, None if settings is None else Path(settings))
    expected = build_on_meta(lambda: EnCodec(sizes), sizes, state.values(), "config").state_dict()
    values = {"kind": "codec", "name": "encodec", "codec": config.to_dict(sizes), "licence": LICENCE}
    return Imported(values, match(found, expected, path, "EnCodec"), (), notes)


def infer_config(found: RenamedWeights, path: Path, settings: Path | None) -> EnCodecConfig:
    """The config: sizes from the shapes, the rest from config.json or the published models."""
    tensors = {name: tensor for name, (_, tensor) in found.items()}
    seanet, quantizer = seanet_sizes(tensors, path), quantizer_sizes(tensors, path)
    if settings is None:
        hidden = _published(seanet)
    else:
        given = read_json(settings)
        _check_agrees(given, {**seanet, **quantizer}, settings)
        hidden = {row[0]: _value(given, key, settings) for key, row in NOT_IN_SHAPES.items()}
    top = {k: hidden.pop(k) for k in ("sample_rate", "normalize", "segment", "overlap")}
    try:
        sizes = EnCodecConfig(
            sample_rate=top["sample_rate"],
            seanet=config.from_dict(SEANetConfig, {**seanet, **hidden}),
            quantizer=config.from_dict(QuantizerConfig, quantizer),
            normalize=top["normalize"],
            segment=top["segment"],
        )
        return sizes if top["overlap"] is None else replace(sizes, overlap=top["overlap"])
    except ValueError as error:
        raise ForeignFileError(f"{settings or path}: {error}") from None


def encodec_key(key: str) -> str:
    """Our name of one public tensor.

    Raises:
        ValueError: no public EnCodec has this name.
    """
    for pattern, replacement in KEY_RULES.items():
        if re.fullmatch(pattern, key):
            ours = re.sub(pattern, replacement, key)
            break
    else:
        raise ValueError(
            f"{printable(key)}: expected an EnCodec tensor (encoder.model.N..., decoder.model.N..., "
            "quantizer.vq.layers.N...); give the model's own state dict."
        )
    for pattern, replacement in LEAF_RULES.items():
        ours = re.sub(pattern, replacement, ours)
    return ours


def seanet_sizes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Fields of a `SEANetConfig`, from the shapes of the weights under our names."""
    kernels = _kernels(tensors, path)
    first, last = kernels[0], kernels[-1]
    blocks = [n for n in range(MAX_LAYERS) if f"decoder.layers.{n}.block.1.{_leaf(tensors)}" in tensors]
    if len(kernels) < 3 or len(blocks) % (len(kernels) - 2) or not blocks:
        raise ForeignFileError(f"{path}: its decoder is not a SEANet; is it another model's file?")
    inner = tensors[f"decoder.layers.{blocks[0]}.block.1.{_leaf(tensors)}"]
    if inner.dim() != 3 or 0 in inner.shape or inner.shape[0] > inner.shape[1]:
        raise ForeignFileError(f"{path}: a residual block has shape {tuple(inner.shape)}.")
    names = tensors.keys()
    normed = "weight_norm" if _leaf(tensors) == NORMED else "none"
    return {
        "channels": last.shape[0],
        "dimension": first.shape[1],
        "n_filters": last.shape[1],
        "n_residual_layers": len(blocks) // (len(kernels) - 2),
        "ratios": [kernel.shape[2] // 2 for kernel in kernels[1:-1]],
        "kernel_size": first.shape[2],
        "last_kernel_size": last.shape[2],
        "residual_kernel_size": inner.shape[2],
        "compress": inner.shape[1] // inner.shape[0],
        "true_skip": not any(".shortcut." in name for name in names),
        "lstm": sum(f"decoder.layers.1.lstm.weight_ih_l{n}" in tensors for n in range(MAX_LAYERS)),
        "norm": "time_group_norm" if any(".norm." in name for name in names) else normed,
    }


def quantizer_sizes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    """Fields of a `QuantizerConfig`, from the shapes of the weights under our names."""
    n_q = sum(f"quantizer.codebooks.{n}.entries" in tensors for n in range(MAX_CODEBOOKS + 1))
    if not 1 <= n_q <= MAX_CODEBOOKS:
        raise ForeignFileError(f"{path}: expected 1 to {MAX_CODEBOOKS} codebooks numbered from 0, got {n_q}.")
    entries = tensors.get("quantizer.codebooks.0.entries")
    if entries is None or entries.dim() != 2 or 0 in entries.shape:
        raise ForeignFileError(f"{path}: its first codebook is missing or not two-dimensional.")
    return {"n_q": n_q, "codebook_size": entries.shape[0], "codebook_dim": entries.shape[1]}


def _kernels(tensors: Mapping[str, Tensor], path: Path) -> list[Tensor]:
    """The decoder's convolutions outside its residual blocks: the first, one per ratio, the last."""
    leaf = _leaf(tensors)
    names = (f"decoder.layers.{n}.{leaf}" for n in range(MAX_LAYERS))
    kernels = [tensors[name] for name in names if name in tensors]
    if any(kernel.dim() != 3 or 0 in kernel.shape for kernel in kernels):
        raise ForeignFileError(f"{path}: a convolution's weight does not have three dimensions.")
    if any(kernel.shape[2] % 2 for kernel in kernels[1:-1]):  # of an upsampling: twice its ratio
        raise ForeignFileError(f"{path}: an upsampling's kernel is not twice its ratio.")
    return kernels


def _leaf(tensors: Mapping[str, Tensor]) -> str:
    """The end of the names of convolution weights: plain, or the direction under weight norm."""
    return NORMED if any(name.endswith(NORMED) for name in tensors) else PLAIN


def _find_files(source: Path) -> tuple[Path, Path | None]:
    """The weights file, and the config.json beside it if there is one."""
    path = source
    if source.is_dir():
        path = next((p for name in TRANSFORMERS_FILES if (p := source / name).is_file()), source)
        if path == source:
            names = " or ".join(TRANSFORMERS_FILES)
            raise ForeignFileError(f"{source}: has no {names}; give the folder of a model.")
    beside = path.parent / CONFIG
    return path, beside if path.name in TRANSFORMERS_FILES and beside.exists() else None


def _read_state(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict of a safetensors or PyTorch file, and what was unwrapped."""
    if path.suffix == ".safetensors":
        return unwrap(read_safetensors(path))
    with TorchFile(path) as file:
        weights, notes = unwrap(file.contents)
        return file.tensors(weights), notes


def _translate(state: Mapping[str, Tensor], path: Path) -> RenamedWeights:
    found: RenamedWeights = {}
    for foreign, tensor in state.items():
        try:
            ours = encodec_key(foreign)
        except ValueError as error:
            raise ForeignFileError(f"{path}: {error}") from None
        if ours in found:
            names = f"{printable(foreign)} and {printable(found[ours][0])}"
            raise ForeignFileError(f"{path}: {names} are the same weight.")
        found[ours] = (foreign, tensor)
    return found


def _published(seanet: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes do not show, for the published model of these sizes: 24 kHz mono or 48 kHz stereo."""
    hidden = {ours: default for ours, _, default, _ in NOT_IN_SHAPES.values()}
    if seanet["norm"] == "time_group_norm":
        stereo = {"causal": False, "normalize": True, "segment": 1.0, "overlap": 0.01}
        return {**hidden, **stereo, "sample_rate": STEREO_RATE}
    return hidden


def _value(given: Mapping[str, Any], key: str, path: Path) -> Any:
    """A value of config.json of the right type and range, or transformers' default."""
    _, kind, default, maximum = NOT_IN_SHAPES[key]
    value = given.get(key, default)
    if value is None and default is None:
        return None
    valid = type(value) is kind or (kind is float and type(value) is int)
    if not valid or (kind in (int, float) and not 0 <= value <= maximum):
        limit = f" from 0 to {maximum:g}" if kind in (int, float) else ""
        raise ForeignFileError(f"{path}: {key} is {printable(value)}, expected {kind.__name__}{limit}.")
    return kind(value)


def _check_agrees(given: Mapping[str, Any], sizes: Mapping[str, Any], path: Path) -> None:
    """The sizes in config.json are those of the weights."""
    for key, (ours, default) in IN_SHAPES.items():
        size = sizes[ours]
        if given.get(key, default) != size:
            stated = printable(str(given.get(key, default)))
            raise ForeignFileError(f"{path}: {key} is {stated}, the weights have {size}.")
    if given.get("use_conv_shortcut", True) == sizes["true_skip"]:
        raise ForeignFileError(f"{path}: use_conv_shortcut does not agree with the weights.")


def _card(source: Path, imported: Imported) -> str:
    values = imported.config["codec"]
    rate, quantizer = values["sample_rate"], values["quantizer"]
    frame_rate = rate / math.prod(values["seanet"]["ratios"])
    facts = (
        f"Licence: {LICENCE}. It also applies to these weights.",
        f"Sample rate {rate} Hz, frame rate {frame_rate:g} Hz, up to {quantizer['n_q']} codebooks of "
        f"{quantizer['codebook_size']}.",
        "Source: Défossez, Copet, Synnaeve and Adi 2022, High fidelity neural audio compression.",
    )
    return model_card("EnCodec", f"Imported from `{source.name}`.", facts)
