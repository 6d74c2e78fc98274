"""The multi-input vocoder of lip2speech-unit (Choi, Kim, Ro 2023) -> our checkpoint folder of a HiFi-GAN.

Reads the file `{"generator": weights}` that its trainer writes, and the config.json beside it, the only place
of the strides. Neither contains the mel settings; those published by its authors are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lip2speech import checkpoint, config
from lip2speech.checkpoint import build_on_meta
from lip2speech.importers.base import WRAPPER, Imported, check_expansion, model_card, unwrap
from lip2speech.importers.foreign_file import ForeignFileError, printable, read_json
from lip2speech.importers.keymap import KeyMap
from lip2speech.importers.torch_file import TorchFile
from lip2speech.vocoders.hifigan import UNIT_MEL, UNIT_RATIO, HiFiGAN, HiFiGANConfig
from lip2speech.vocoders.registry import KIND

NAME = "hifigan"
LICENCE = (
    "lip2speech-unit states no licence for its weights; ask its authors (Choi, Kim and Ro 2023) before use"
)
MAX_SIZE, MAX_LAYERS = 1 << 16, 16
"""The largest number and the longest list in a vocoder's config."""

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
"""Key of the official config -> ours."""
EXPECTED_SETTINGS: dict[str, Any] = {
    "resblock": "1",
    "sampling_rate": UNIT_MEL.sample_rate,
    "num_mels": UNIT_MEL.n_mels,
    "mel_hop_size": UNIT_MEL.hop_length,
    "code_hop_size": UNIT_RATIO * UNIT_MEL.hop_length,
}
"""Settings of the published vocoders that ours implements; a config with others is refused."""

MODULE_KEYS: dict[str, str | None] = {
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
        source: the official file.
        out: the folder to write.
        settings: its config.json; by default config.json or NAME_config.json beside `source`.
        overwrite: replace a checkpoint folder.
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
        if not isinstance(contents, Mapping) or not {"generator", WRAPPER} & set(contents):
            raise ForeignFileError(
                f"{path}: not a vocoder; expected a mapping with `generator`, got {printable(contents)}."
            )
        weights, notes = unwrap(contents, "generator")
        state = file.tensors(weights)
    check_expansion(state, path)
    sizes = read_settings(Path(settings) if settings else find_settings(path))
    keys = KeyMap(path, "lip2speech-unit's vocoder", key_map(sizes), leaves=LEAVES)
    expected = build_on_meta(lambda: HiFiGAN(sizes), sizes, state.values(), "config").state_dict()
    found, _ = keys.translate(state)
    values = {"kind": KIND, "name": NAME, "vocoder": config.to_dict(sizes), "licence": LICENCE}
    return Imported(values, keys.match(found, expected), (), notes)


def key_map(sizes: HiFiGANConfig) -> dict[str, str | None]:
    """Foreign module name -> ours. The official residual blocks are numbered across all stages."""
    table = dict(MODULE_KEYS)
    n_kernels = len(sizes.block_kernels)
    for stage in range(len(sizes.ratios)):
        table[f"ups.{stage}"] = f"stages.{stage}.upsample"
        for kernel, dilations in enumerate(sizes.dilations):
            theirs, ours = f"resblocks.{stage * n_kernels + kernel}", f"stages.{stage}.blocks.{kernel}"
            for layer in range(len(dilations)):
                table[f"{theirs}.convs1.{layer}"] = f"{ours}.convs1.{layer}.conv"
                table[f"{theirs}.convs2.{layer}"] = f"{ours}.convs2.{layer}.conv"
    return table


def find_settings(path: Path) -> Path:
    """The config beside a vocoder's file."""
    places = [path.with_name("config.json"), path.with_name(f"{path.stem}_config.json")]
    for place in places:
        if place.is_file():
            return place
    names = " nor ".join(place.name for place in places)
    raise ForeignFileError(f"{path}: neither {names} is beside it; give the vocoder's config.json.")


def read_settings(path: Path) -> HiFiGANConfig:
    """The sizes in an official config.json."""
    values = read_json(path)
    if missing := [name for name in (*SIZES, *EXPECTED_SETTINGS) if name not in values]:
        raise ForeignFileError(f"{path}: not the config of a multi-input vocoder; it has no {missing[0]}.")
    for name, value in EXPECTED_SETTINGS.items():
        if values[name] != value:
            raise ForeignFileError(f"{path}: {name} is {printable(values[name])}; only {value} is supported.")
    for name in SIZES:
        if not _is_size(values[name]):
            raise ForeignFileError(f"{path}: {name} is {printable(values[name])}; not a vocoder's size.")
    try:
        return config.from_dict(HiFiGANConfig, {ours: values[theirs] for theirs, ours in SIZES.items()})
    except ValueError as error:
        raise ForeignFileError(f"{path}: {error}") from None


def _is_size(value: Any) -> bool:
    """A size, or a short list of sizes."""
    if isinstance(value, list):
        return 0 < len(value) <= MAX_LAYERS and all(map(_is_size, value))
    return type(value) is int and 0 < value <= MAX_SIZE


def _card(source: Path) -> str:
    facts = (
        f"Licence: {LICENCE}.",
        "Input: mel frames at 100 Hz and units at 50 Hz. Output: 16 kHz.",
        "Mel: windows of 640 samples, hop 160, 80 Slaney bands up to 8 kHz, natural log of magnitudes.",
        "Source: Choi, Kim and Ro 2023, Intelligible lip-to-speech synthesis with speech units.",
    )
    origin = f"Imported from the official checkpoint `{source.name}`."
    return model_card("Multi-input HiFi-GAN", origin, facts)
