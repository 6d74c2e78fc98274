"""The multi-input vocoder of lip2speech-unit (Choi, Kim, Ro 2023) -> our checkpoint folder of a HiFi-GAN.

A file `{"generator": weights}` as its trainer writes it, and the config.json beside it, which alone tells the
strides. What the file does not tell is the recipe of the mel: it is the one that its authors publish.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lip2speech import checkpoint, config
from lip2speech.checkpoint import build_on_meta
from lip2speech.importers.base import Imported, check_claims
from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.keymap import KeyMap
from lip2speech.importers.torchfile import TorchFile
from lip2speech.vocoders.hifigan import UNIT_MEL, UNIT_RATIO, HiFiGAN, HiFiGANConfig
from lip2speech.vocoders.registry import KIND

NAME = "hifigan"
LICENCE = (
    "lip2speech-unit states no licence for its weights; ask its authors (Choi, Kim and Ro 2023) before use"
)
MAX_CONFIG_BYTES = 1 << 20
MAX_SIZE, MAX_LAYERS = 1 << 16, 16
"""The largest number, and the longest list, that a config of a vocoder may hold."""

SIZES = {
    "num_embeddings": "n_units",
    "embedding_dim": "unit_dim",
    "embedder_dim": "speaker_dim",
    "upsample_initial_channel": "channels",
    "upsample_rates": "ratios",
    "upsample_kernel_sizes": "kernels",
    "resblock_kernel_sizes": "block_kernels",
    "resblock_dilation_sizes": "dilations",
}
"""Names of the official config -> ours."""
EXPECTED: dict[str, Any] = {
    "resblock": "1",
    "sampling_rate": UNIT_MEL.sample_rate,
    "num_mels": UNIT_MEL.n_mels,
    "mel_hop_size": UNIT_MEL.hop_length,
    "code_hop_size": UNIT_RATIO * UNIT_MEL.hop_length,
}
"""What the published vocoders share and ours does; a config that says otherwise is refused."""

WHOLE: dict[str, str | None] = {
    "dict": "unit_embedding",
    "layer.0": "unit_upsample",
    "fc": "unit_proj",
    "spkr": "speaker_proj",
    "conv_pre": "conv_pre.conv",
    "conv_post": "conv_post.conv",
}
LEAVES = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


def import_unit_vocoder(
    source: str | Path,
    out: str | Path,
    *,
    settings: str | Path | None = None,
    overwrite: bool = False,
    fp16: bool = False,
) -> Imported:
    """Write the official vocoder `source` as our checkpoint folder `out`.

    Args:
        settings: its config.json; by default the one beside `source` (also as NAME_config.json).
        fp16: store float16.
    """
    imported = read_unit_vocoder(source, settings=settings)
    text = _card(Path(source))
    checkpoint.save(Path(out), imported.config, imported.tensors, text, overwrite=overwrite, fp16=fp16)
    return imported


def read_unit_vocoder(source: str | Path, *, settings: str | Path | None = None) -> Imported:
    """The config and tensors of an official vocoder, in our names; tensors are float32."""
    path = Path(source)
    with TorchFile(path) as file:
        contents = file.contents
        if not isinstance(contents, Mapping) or "generator" not in contents:
            raise ForeignFileError(
                f"{path}: not a vocoder; expected a mapping with `generator`, got {shown(contents)}."
            )
        weights = file.tensors(contents["generator"])
    check_claims(weights, path)
    sizes = read_settings(Path(settings) if settings else find_settings(path))
    keys = KeyMap(path, "this vocoder", key_map(sizes), leaves=LEAVES)
    expected = build_on_meta(lambda: HiFiGAN(sizes), sizes, weights.values(), "config").state_dict()
    found, _ = keys.translate(weights)
    tensors = keys.fit(found, expected)
    values = {"kind": KIND, "name": NAME, "vocoder": config.to_dict(sizes), "licence": LICENCE}
    return Imported(values, tensors, ())


def key_map(sizes: HiFiGANConfig) -> dict[str, str | None]:
    """Foreign module name -> ours. The official residual blocks are numbered through all stages."""
    table = dict(WHOLE)
    kinds = len(sizes.block_kernels)
    for stage in range(len(sizes.ratios)):
        table[f"ups.{stage}"] = f"stages.{stage}.upsample"
        for kind, dilations in enumerate(sizes.dilations):
            theirs, ours = f"resblocks.{stage * kinds + kind}", f"stages.{stage}.blocks.{kind}"
            for layer in range(len(dilations)):
                table[f"{theirs}.convs1.{layer}"] = f"{ours}.convs1.{layer}.conv"
                table[f"{theirs}.convs2.{layer}"] = f"{ours}.convs2.{layer}.conv"
    return table


def find_settings(path: Path) -> Path:
    """The config that lies beside a vocoder's file."""
    places = [path.with_name("config.json"), path.with_name(f"{path.stem}_config.json")]
    for place in places:
        if place.is_file():
            return place
    names = " nor ".join(place.name for place in places)
    raise ForeignFileError(f"{path}: neither {names} lies beside it; give the vocoder's config.json.")


def read_settings(path: Path) -> HiFiGANConfig:
    """The sizes in an official config.json."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ForeignFileError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; not a vocoder's config.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForeignFileError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ForeignFileError):
            raise
        raise ForeignFileError(f"{path}: not JSON ({shown(str(error))}).") from None
    if not isinstance(values, dict) or (missing := [n for n in (*SIZES, *EXPECTED) if n not in values]):
        lacks = shown(missing[0]) if isinstance(values, dict) else "everything"
        raise ForeignFileError(f"{path}: not the config of a multi-input vocoder; it lacks {lacks}.")
    for name, value in EXPECTED.items():
        if values[name] != value:
            given = shown(values[name])
            raise ForeignFileError(f"{path}: {name} is {given}; only {value} is supported.")
    for name in SIZES:
        if not _sane(values[name]):
            raise ForeignFileError(f"{path}: {name} is {shown(values[name])}; not a vocoder's size.")
    try:
        return config.from_dict(HiFiGANConfig, {ours: values[theirs] for theirs, ours in SIZES.items()})
    except ValueError as error:
        raise ForeignFileError(f"{path}: {error}") from None


def _sane(value: Any) -> bool:
    """A size, or a short list of such."""
    if isinstance(value, list):
        return 0 < len(value) <= MAX_LAYERS and all(map(_sane, value))
    return type(value) is int and 0 < value <= MAX_SIZE


def _card(source: Path) -> str:
    """The folder's README: what this is, where it came from, what may be done with it."""
    lines = [
        "# Multi-input HiFi-GAN",
        "",
        f"Imported from the official checkpoint `{source.name}`.",
        "",
        f"- Licence: {LICENCE}.",
        "- Rates: 100 mel frames and 50 units a second in, 16 kHz out.",
        "- Mel: windows of 640 samples every 160, 80 Slaney bands up to 8 kHz, natural log of magnitudes.",
        "- Source: Choi, Kim and Ro 2023, Intelligible lip-to-speech synthesis with speech units.",
    ]
    return "\n".join(lines) + "\n"
