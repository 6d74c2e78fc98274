"""The parts of a model folder and whether they fit (lip2speech/components.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import CheckpointError
from lip2speech.confidence.calibration import Calibration
from lip2speech.config import to_dict
from lip2speech.pipeline import Lip2Speech, PipelineConfig
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig
from tests.factories import save_codec, save_system_with_prior, system

SIZES: dict[str, Any] = {
    "n_units": 8, "unit_dim": 4, "speaker_dim": 163, "channels": 32, "mel": MelConfig()
}  # fmt: skip


def save(
    folder: Path,
    *,
    codec: bool = True,
    vocoder: dict[str, Any] | None = None,
    voiceless: bool = False,
    **changes: Any,
) -> Path:
    """The tiny system's folder, with or without its codec and its voice, and a vocoder of these sizes."""
    values, tensors = system(**changes)
    if not codec:
        del values["codec"]
        tensors = without(tensors, "codec.")
    if voiceless:
        tensors = without(tensors, "voice.")
    if vocoder is not None:
        own = HiFiGAN(HiFiGANConfig(**SIZES | vocoder))
        values["vocoder"] = {"name": "hifigan", "config": to_dict(own.config)}
        tensors |= {f"vocoder.{name}": tensor for name, tensor in own.state_dict().items()}
    checkpoint.save(folder, values, tensors, "")
    return folder


def without(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def pipeline(route: str, voice: str = "ann") -> dict[str, Any]:
    return to_dict(PipelineConfig(vocoder=route, default_voice=voice))


def test_a_folder_may_bring_a_vocoder_beside_its_codec(tmp_path: Path) -> None:
    speech = Lip2Speech.from_pretrained(save(tmp_path / "s", vocoder={}), device="cpu")
    assert set(speech.vocoder_names) == {"codes", "codes-independent", "griffin-lim", "mel", "hifigan"}
    wav = speech(np.zeros((2, 96, 96), np.uint8), route="hifigan")
    assert wav.shape == (1280,)
    assert not any("parametrizations" in name for name in speech.vocoders["hifigan"].state_dict())


def test_a_folder_may_bring_a_vocoder_instead_of_a_codec(tmp_path: Path) -> None:
    folder = save(tmp_path / "s", codec=False, vocoder={}, pipeline=pipeline("hifigan"))
    speech = Lip2Speech.from_pretrained(folder, device="cpu")
    assert speech.vocoder_names == ["griffin-lim", "hifigan"]
    assert speech(np.zeros((2, 96, 96), np.uint8)).shape == (1280,)


def test_a_folder_with_neither_speaks_by_griffin_lim(tmp_path: Path) -> None:
    folder = save(tmp_path / "s", codec=False, pipeline=pipeline("griffin-lim"))
    assert Lip2Speech.from_pretrained(folder, device="cpu").vocoder_names == ["griffin-lim"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"mel": MelConfig(f_max=7600.0)}, "the model's mel has f_max 8000.0, the vocoder's f_max 7600.0"),
        ({"n_units": 9}, "the model has n_units 8, its vocoder n_units 9; they do not fit"),
        ({"speaker_dim": 256}, "the model has speaker_dim 163, its vocoder speaker_dim 256"),
    ],
)
def test_a_vocoder_that_does_not_fit_is_refused_by_both_sides(
    tmp_path: Path, numbers: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        Lip2Speech.from_pretrained(save(tmp_path / "s", vocoder=numbers), device="cpu")


@pytest.mark.parametrize("part", ["codec", "vocoder", "code_prior"])
def test_weights_without_their_config_are_a_damaged_folder(tmp_path: Path, part: str) -> None:
    values, tensors = system()
    values.pop("codec")
    tensors = without(tensors, "codec.") | {f"{part}.x": torch.zeros(1)}
    checkpoint.save(tmp_path / "s", values, tensors, "")
    with pytest.raises(CheckpointError, match=f"1 weights of a {part} and no config of it"):
        Lip2Speech.from_pretrained(tmp_path / "s", device="cpu")


def test_a_folder_may_bring_a_likelihood(tmp_path: Path) -> None:
    speech = Lip2Speech.from_pretrained(save_system_with_prior(tmp_path / "s"), device="cpu")
    assert speech.code_prior is not None and not speech.code_prior.training
    bits = speech.speak(np.zeros((3, 96, 96), np.uint8))[2]
    assert bits is not None and bits.shape == (3,) and (bits > 0).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"n_q": 3},
            "the heads predict 2 codebooks of 16, the likelihood is of 3 codebooks of 16; they do not fit",
        ),
        (
            {"codebook_size": 32},
            "the heads predict 2 codebooks of 16, the likelihood is of 2 codebooks of 32",
        ),
        ({"speaker_dim": 9}, "the heads take voices of 163 numbers, the likelihood of 9; they do not fit"),
    ],
)
def test_a_likelihood_of_other_sizes_is_refused(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Lip2Speech.from_pretrained(save_system_with_prior(tmp_path / "s", code_prior=sizes), device="cpu")


@pytest.mark.parametrize("name", ["codec", "speaker"])
def test_a_likelihood_that_learned_other_codes_or_voices_is_refused(tmp_path: Path, name: str) -> None:
    folder = save_system_with_prior(tmp_path / "s")
    loaded = checkpoint.load(folder)
    loaded.config["code_prior"][name] = "0123"
    with pytest.raises(
        CheckpointError, match=f"has learned with {name} 0123, the model's {name} is .*; train one with the"
    ):
        Lip2Speech.from_checkpoint(loaded, "cpu")
    del loaded.config["code_prior"][name]
    with pytest.raises(CheckpointError, match=f"config is wrong .*{name}"):
        Lip2Speech.from_checkpoint(loaded, "cpu")


def test_a_likelihood_that_hears_no_voice_may_have_learned_with_any(tmp_path: Path) -> None:
    folder = save_system_with_prior(tmp_path / "s", code_prior={"speaker_dim": 0})
    loaded = checkpoint.load(folder)
    loaded.config["code_prior"]["speaker"] = "0123"
    bits = Lip2Speech.from_checkpoint(loaded, "cpu").speak(np.zeros((2, 96, 96), np.uint8))[2]
    assert bits is not None and bits.shape == (2,)


def test_a_calibration_that_counts_a_likelihood_needs_one(tmp_path: Path) -> None:
    counted = PipelineConfig(default_voice="ann", confidence=Calibration(bias=1.0, code_nll=-2.0))
    Lip2Speech.from_pretrained(save_system_with_prior(tmp_path / "with", pipeline=to_dict(counted)), device="cpu")
    folder = save(tmp_path / "without", pipeline=to_dict(counted))
    with pytest.raises(CheckpointError, match="with a likelihood that is not in it; calibrate it again"):
        Lip2Speech.from_pretrained(folder, device="cpu")


def test_an_unknown_vocoder_is_a_damaged_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "s", vocoder={})
    loaded = checkpoint.load(folder)
    loaded.config["vocoder"]["name"] = "melgan"
    with pytest.raises(CheckpointError, match="config is wrong .no vocoder is called 'melgan'"):
        Lip2Speech.from_checkpoint(loaded, "cpu")


def test_a_folder_without_voices_needs_one_to_be_given(tmp_path: Path) -> None:
    speech = Lip2Speech.from_pretrained(save(tmp_path / "s", voiceless=True, pipeline=pipeline("mel", "")), device="cpu")
    crops = np.zeros((2, 96, 96), np.uint8)
    with pytest.raises(ValueError, match="no voice of its own"):
        speech(crops)
    assert speech(crops, torch.zeros(163)).shape == (1280,)


def test_a_folder_with_voices_has_one_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="voice '' is not in it .*voices ann"):
        Lip2Speech.from_pretrained(save(tmp_path / "s", pipeline=pipeline("mel", "")), device="cpu")


def test_a_part_that_is_no_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a whole lip2speech system"):
        Lip2Speech.from_pretrained(save_codec(tmp_path / "c"), device="cpu")
