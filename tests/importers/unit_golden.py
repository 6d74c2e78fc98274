"""Golden files of the official lip2speech-unit, and our modules filled with them by the importers."""

from functools import cache

import torch
from safetensors.torch import load_file
from torch import Tensor

from lip2speech import checkpoint, config
from lip2speech.importers.hifigan import read_unit_vocoder
from lip2speech.importers.unitmodel import read_unit_model
from lip2speech.model import LipModel
from lip2speech.vocoder import HiFiGAN, HiFiGANConfig
from tests.frontend.golden import FOLDER as AVHUBERT
from tests.frontend.golden import PRETRAINED, inputs

FOLDER = AVHUBERT.parent / "unitmodel"
MODELS = ("multi_target", "multi_target_avhubert")
VOCODER = FOLDER / "vocoder.pt"
TOLERANCE = 1e-5  # of a tensor's largest value


@cache
def model(name: str) -> LipModel:
    """A golden multi-target checkpoint as our model, in eval mode."""
    read = read_unit_model(FOLDER / f"{name}.pt", pretrained=PRETRAINED)
    built = LipModel(read.config).eval()
    checkpoint.load_into(built, read.tensors)
    return built


@cache
def vocoder() -> HiFiGAN:
    """The golden vocoder as ours, in eval mode."""
    read = read_unit_vocoder(VOCODER)
    built = HiFiGAN(config.from_dict(HiFiGANConfig, read.config["config"])).eval()
    checkpoint.load_into(built, read.tensors)
    return built


def stored(name: str) -> dict[str, Tensor]:
    """The official outputs."""
    return load_file(FOLDER / f"{name}.safetensors")


def video() -> tuple[Tensor, Tensor]:
    """What the models are given: video (2, 1, 12, 88, 88) and the mask (2, 12) of its second clip."""
    frames, _, mask = inputs("video_pad")
    assert frames is not None and mask is not None, "this case has both"
    return frames, mask


def share(found: Tensor, golden: Tensor) -> float:
    """The largest difference as a share of the largest value."""
    return float((found - golden).abs().max() / golden.abs().max())


def key_list(name: str) -> dict[str, Tensor]:
    """The published weights of a kind of file, by name and shape alone."""
    rows = [line.split("\t") for line in (FOLDER / f"{name}_keys.tsv").read_text().splitlines()]
    kinds = {True: torch.int64, False: torch.float32}
    return {
        key: torch.empty([int(n) for n in sizes.split()], device="meta", dtype=kinds["num_batches" in key])
        for key, sizes in rows
    }
