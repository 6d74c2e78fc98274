"""Public EnCodec weights (Défossez et al. 2022) -> our codec folder.

Reads the official state dict (the 24 kHz `.th` file, or one like it) and the transformers form (a folder of
config.json beside model.safetensors or pytorch_model.bin). Only names change: the tensors and their shapes
are the same on both sides. Sizes are read from the shapes. What no shape shows (sample rate, causal or not,
padding) comes from config.json, and for a bare state dict is that of the published models.
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
from lip2speech.importers.base import Found, Imported, check_claims, fit
from lip2speech.importers.encodec_sizes import quantizer_sizes, seanet_sizes
from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.safefile import read_json, read_safetensors
from lip2speech.importers.torchfile import TorchFile
from lip2speech.modules.seanet import SEANetConfig

# First match wins; every public name must match one of them.
RULES = {
    r"(encoder|decoder)\.(?:model|layers)\.(\d+)\.(.+)": r"\1.layers.\2.\3",
    r"(?:quantizer\.)?vq\.layers\.(\d+)\._codebook\.(.+)": r"quantizer.codebooks.\1.\2",
    r"quantizer\.layers\.(\d+)\.codebook\.(.+)": r"quantizer.codebooks.\1.\2",
}
PARTS = {
    r"\b(?:conv\.conv|convtr\.convtr)\.": "conv.",
    r"\b(?:conv|convtr)\.norm\.": "norm.",
    r"\bweight_g$": "parametrizations.weight.original0",
    r"\bweight_v$": "parametrizations.weight.original1",
    r"\bembed$": "entries",
    r"\bembed_avg$": "entries_sum",
}
LICENCE = "that of the place the file is from; EnCodec's code is MIT, its weights do not say everywhere"
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"
MONO_RATE, STEREO_RATE = 24_000, 48_000  # the two published models

HIDDEN: dict[str, tuple[str, type, Any, float]] = {
    "sampling_rate": ("sample_rate", int, MONO_RATE, 1e6),
    "normalize": ("normalize", bool, False, 1),
    "chunk_length_s": ("segment", float, None, 1e4),
    "overlap": ("overlap", float, None, 0.99),
    "use_causal_conv": ("causal", bool, True, 1),
    "pad_mode": ("pad_mode", str, "reflect", 0),
    "dilation_growth_rate": ("dilation_base", int, 2, 32),
    "trim_right_ratio": ("trim_right_ratio", float, 1.0, 1),
}
"""transformers' word -> ours, its type, its default, the largest that makes sense: what no shape shows."""
SHOWN: dict[str, tuple[str, Any]] = {
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
"""transformers' word -> ours, its default: what the shapes show too, and must agree on."""


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
        source: the official state dict, or the folder (or a weights file of it) that transformers wrote.
        settings: a config.json in transformers' words for a state dict that is neither published model.
        fp16: store float16.
    """
    imported = read_encodec(source, settings=settings)
    text = _card(Path(source), imported)
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_encodec(source: str | Path, *, settings: str | Path | None = None) -> Imported:
    """The config and tensors of a public EnCodec, in our names; tensors are float32."""
    path, beside = _files_of(Path(source))
    state = _read_state(path)
    check_claims(state, path)
    found = _translate(state, path)
    settings = settings or beside
    if settings is None and any(name.startswith("encoder.layers.") for name in state):
        raise ForeignFileError(
            f"{path}: has transformers' names and no {CONFIG} beside it; put that file there."
        )
    numbers = infer_config(found, path, None if settings is None else Path(settings))
    expected = build_on_meta(lambda: EnCodec(numbers), numbers, state.values(), "config").state_dict()
    values = {"kind": "codec", "name": "encodec", "codec": config.to_dict(numbers), "licence": LICENCE}
    return Imported(values, fit(found, expected, path, "EnCodec"), ())


def infer_config(found: Found, path: Path, settings: Path | None) -> EnCodecConfig:
    """The numbers: from the shapes, and from config.json or the published models what no shape shows."""
    tensors = {name: tensor for name, (_, tensor) in found.items()}
    seanet, quantizer = seanet_sizes(tensors, path), quantizer_sizes(tensors, path)
    if settings is None:
        hidden = _published(seanet)
    else:
        given = read_json(settings)
        _check_agrees(given, {**seanet, **quantizer}, settings)
        hidden = {row[0]: _value(given, word, settings) for word, row in HIDDEN.items()}
    whole = {k: hidden.pop(k) for k in ("sample_rate", "normalize", "segment", "overlap")}
    try:
        numbers = EnCodecConfig(
            sample_rate=whole["sample_rate"],
            seanet=config.from_dict(SEANetConfig, {**seanet, **hidden}),
            quantizer=config.from_dict(QuantizerConfig, quantizer),
            normalize=whole["normalize"],
            segment=whole["segment"],
        )
        return numbers if whole["overlap"] is None else replace(numbers, overlap=whole["overlap"])
    except ValueError as error:
        raise ForeignFileError(f"{settings or path}: {error}") from None


def encodec_key_map(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names, ready for `EnCodec.load_state_dict`.

    Raises:
        ValueError: for a name that no public EnCodec has.
    """
    return {encodec_key(key): tensor for key, tensor in state.items()}


def encodec_key(key: str) -> str:
    """Our name of one public tensor."""
    for pattern, replacement in RULES.items():
        if re.fullmatch(pattern, key):
            ours = re.sub(pattern, replacement, key)
            break
    else:
        raise ValueError(
            f"{shown(key)}: expected an EnCodec tensor (encoder.model.N..., decoder.model.N..., "
            "quantizer.vq.layers.N...); pass the model's own state dict, without its wrapper."
        )
    for pattern, replacement in PARTS.items():
        ours = re.sub(pattern, replacement, ours)
    return ours


def _files_of(source: Path) -> tuple[Path, Path | None]:
    """The file of weights, and config.json if there is one beside it."""
    path = source
    if source.is_dir():
        path = next((p for name in TRANSFORMERS_FILES if (p := source / name).is_file()), source)
        if path == source:
            names = " or ".join(TRANSFORMERS_FILES)
            raise ForeignFileError(f"{source}: holds neither {names}; give the folder of a model.")
    beside = path.parent / CONFIG
    return path, beside if path.name in TRANSFORMERS_FILES and beside.exists() else None


def _read_state(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors or PyTorch file."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    with TorchFile(path) as file:
        return file.tensors(file.contents)


def _translate(state: Mapping[str, Tensor], path: Path) -> Found:
    found: Found = {}
    for foreign, tensor in state.items():
        try:
            ours = encodec_key(foreign)
        except ValueError as error:
            raise ForeignFileError(f"{path}: {error}") from None
        if ours in found:
            raise ForeignFileError(f"{path}: {shown(foreign)} and {shown(found[ours][0])} are one weight.")
        found[ours] = (foreign, tensor)
    return found


def _published(seanet: Mapping[str, Any]) -> dict[str, Any]:
    """What no shape shows, of the published model that has these sizes: 24 kHz mono, or 48 kHz stereo."""
    hidden = {ours: default for ours, _, default, _ in HIDDEN.values()}
    if seanet["norm"] == "time_group_norm":
        stereo = {"causal": False, "normalize": True, "segment": 1.0, "overlap": 0.01}
        return {**hidden, **stereo, "sample_rate": STEREO_RATE}
    return hidden


def _value(given: Mapping[str, Any], word: str, path: Path) -> Any:
    """A value of config.json of the right type, or transformers' default."""
    _, kind, default, largest = HIDDEN[word]
    value = given.get(word, default)
    if value is None and default is None:
        return None
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (kind in (int, float) and not 0 <= value <= largest):
        limit = f" of 0 to {largest:g}" if kind in (int, float) else ""
        raise ForeignFileError(f"{path}: {word} is {shown(value)}, expected {kind.__name__}{limit}.")
    return kind(value)


def _check_agrees(given: Mapping[str, Any], sizes: Mapping[str, Any], path: Path) -> None:
    """What config.json says of the sizes is what the weights show."""
    for word, (ours, default) in SHOWN.items():
        seen = sizes[ours]
        if given.get(word, default) != seen:
            raise ForeignFileError(
                f"{path}: {word} is {shown(str(given.get(word, default)))}, its weights say {seen}."
            )
    if given.get("use_conv_shortcut", True) == sizes["true_skip"]:
        raise ForeignFileError(f"{path}: use_conv_shortcut is not what its weights say.")


def _card(source: Path, imported: Imported) -> str:
    """The folder's README: what this is, where it came from, what may be done with it."""
    values = imported.config["codec"]
    rate, quantizer = values["sample_rate"], values["quantizer"]
    frame_rate = rate / math.prod(values["seanet"]["ratios"])
    return "\n".join(
        [
            "# EnCodec",
            "",
            f"Imported from `{source.name}`.",
            "",
            f"- Licence: {LICENCE}. It travels with these weights.",
            f"- Rates: {rate} Hz, {frame_rate:g} frames a second, up to "
            f"{quantizer['n_q']} books of {quantizer['codebook_size']}.",
            "- Source: Défossez, Copet, Synnaeve and Adi 2022, High fidelity neural audio compression.",
            "",
        ]
    )
