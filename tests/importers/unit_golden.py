"""Golden files of the official lip2speech-unit, and our modules with the imported weights."""

from collections.abc import Iterator
from functools import cache

import torch
from safetensors.torch import load_file
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers.hifigan import read_unit_vocoder
from lip2speech.importers.lip2speech_unit import read_unit_model
from lip2speech.models.lip2speech import LipModel
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig
from tests.models.golden import FOLDER as AVHUBERT
from tests.models.golden import PRETRAINED, inputs

FOLDER = AVHUBERT.parent / "unitmodel"
MODELS = ("multi_target", "multi_target_avhubert")
VOCODER = FOLDER / "vocoder.pt"
TOLERANCE = 1e-5  # relative to the maximum absolute value

Row = tuple[str, str, float]
"""File, tensor, maximum absolute difference divided by the tensor's maximum absolute value."""


@cache
def load_model(name: str) -> LipModel:
    """A golden multi-target checkpoint as our model, in eval mode."""
    read = read_unit_model(FOLDER / f"{name}.pt", pretrained=PRETRAINED)
    built = LipModel(read.config).eval()
    checkpoint.load_weights(built, read.tensors)
    return built


@cache
def load_golden_vocoder() -> HiFiGAN:
    """The golden vocoder as ours, in eval mode."""
    read = read_unit_vocoder(VOCODER)
    built = HiFiGAN(config.from_dict(HiFiGANConfig, read.config["vocoder"])).eval()
    checkpoint.load_weights(built, read.tensors)
    return built


def stored(name: str) -> dict[str, Tensor]:
    """The official outputs."""
    return load_file(FOLDER / f"{name}.safetensors")


def video() -> tuple[Tensor, Tensor]:
    """Input of the models: video (2, 1, 12, 88, 88) and the mask (2, 12) of its second clip."""
    frames, _, mask = inputs("video_pad")
    assert frames is not None, "this case has both"
    assert mask is not None, "this case has both"
    return frames, mask


def relative_error(found: Tensor, golden: Tensor) -> float:
    """Maximum absolute difference divided by the maximum absolute value."""
    return float((found - golden).abs().max() / golden.abs().max())


@torch.no_grad()
def model_rows(name: str, built: LipModel) -> Iterator[Row]:
    """Errors of a model on every stored output of a multi-target checkpoint."""
    golden, (frames, mask) = stored(name), video()
    features = built.frontend(video=frames, padding_mask=mask)
    hidden = built.heads.encode(features, mask.repeat_interleave(2, 1))
    found = built(frames, golden["spk_emb"], mask)
    mel, units = found.require("mel").transpose(1, 2), found.require("unit_logits").transpose(1, 2)
    yield (
        name,
        "unit_logits_BTV, with special tokens",
        relative_error(built.heads.units(hidden), golden["unit_logits_BTV"]),
    )
    yield name, "unit_logits_BTV", relative_error(units, golden["unit_logits_BTV"][..., 4:])
    yield name, "mel_BT80", relative_error(mel, golden["mel_BT80"])
    for i, kept in enumerate((48, 28)):
        yield name, f"gen_mel_{i}", relative_error(mel[i, :kept], golden[f"gen_mel_{i}"])
    yield (
        name,
        "gen_units_tokens, fraction that differs",
        float((units.argmax(-1) + 4 != golden["gen_units_tokens"]).float().mean()),
    )


@torch.no_grad()
def vocoder_rows(built: HiFiGAN) -> Iterator[Row]:
    """Errors of a vocoder on every stored output of the golden one."""
    golden = stored("vocoder")
    wav = built.generate(golden["mel"], golden["code"], golden["spkr"])
    yield (
        "vocoder",
        "code_upsampled",
        relative_error(built.unit_features(golden["code"]), golden["code_upsampled"]),
    )
    yield "vocoder", "wav", relative_error(wav, golden["wav"])
    steps = ((wav[0, 0] * 32768).trunc() - golden["wav_int16"]).abs().max()  # as the official program stores
    yield "vocoder", "wav_int16, in steps of 1/32768", float(steps)


def all_rows() -> Iterator[Row]:
    """The rows printed by `benchmarks.parity_lip2speech_unit`."""
    for name in MODELS:
        yield from model_rows(name, load_model(name))
    yield from vocoder_rows(load_golden_vocoder())


def key_list(name: str) -> dict[str, Tensor]:
    """The published weights of a file: names and shapes, on `meta`."""
    rows = [line.split("\t") for line in (FOLDER / f"{name}_keys.tsv").read_text().splitlines()]
    kinds = {True: torch.int64, False: torch.float32}
    return {
        key: torch.empty([int(n) for n in sizes.split()], device="meta", dtype=kinds["num_batches" in key])
        for key, sizes in rows
    }
