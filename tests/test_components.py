"""Components of a model folder and their mutual checks (lip2speech/components.py)."""

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
CROPS = np.zeros((2, 96, 96), np.uint8)


def save(
    folder: Path,
    *,
    codec: bool = True,
    vocoder: dict[str, Any] | None = None,
    no_voice: bool = False,
    **changes: Any,
) -> Path:
    """A tiny model's folder with or without codec and stored voice, and with a vocoder of these sizes."""
    values, tensors = system(**changes)
    if not codec:
        del values["codec"]
        tensors = without(tensors, "codec.")
    if no_voice:
        tensors = without(tensors, "voice.")
    if vocoder is not None:
        hifigan = HiFiGAN(HiFiGANConfig(**SIZES | vocoder))
        values["vocoder"] = {"name": "hifigan", "config": to_dict(hifigan.config)}
        tensors |= {f"vocoder.{name}": tensor for name, tensor in hifigan.state_dict().items()}
    checkpoint.save(folder, values, tensors, "")
    return folder


def without(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def inference(vocoder: str, voice: str = "ann") -> dict[str, Any]:
    return to_dict(PipelineConfig(vocoder=vocoder, default_voice=voice))


def load(folder: Path) -> Lip2Speech:
    return Lip2Speech.from_pretrained(folder, device="cpu")


def test_a_folder_may_hold_a_vocoder_and_a_codec(tmp_path: Path) -> None:
    model = load(save(tmp_path / "s", vocoder={}))
    assert set(model.vocoder_names) == {"codes", "codes-independent", "griffin-lim", "mel", "hifigan"}
    assert model.synthesize(CROPS, vocoder="hifigan").shape == (1280,)
    assert not any("parametrizations" in name for name in model.vocoders["hifigan"].state_dict())


def test_a_folder_may_hold_a_vocoder_and_no_codec(tmp_path: Path) -> None:
    model = load(save(tmp_path / "s", codec=False, vocoder={}, inference=inference("hifigan")))
    assert model.vocoder_names == ["griffin-lim", "hifigan"]
    assert model.synthesize(CROPS).shape == (1280,)


def test_a_folder_without_codec_and_vocoder_has_griffin_lim(tmp_path: Path) -> None:
    model = load(save(tmp_path / "s", codec=False, inference=inference("griffin-lim")))
    assert model.vocoder_names == ["griffin-lim"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"mel": MelConfig(f_max=7600.0)}, "the model's mel has f_max 8000.0, the vocoder's f_max 7600.0"),
        ({"n_units": 9}, "the model has n_units 8, its vocoder n_units 9; they do not fit"),
        ({"speaker_dim": 256}, "the model has speaker_dim 163, its vocoder speaker_dim 256"),
    ],
)
def test_a_vocoder_of_other_sizes_is_refused(tmp_path: Path, sizes: dict[str, Any], message: str) -> None:
    folder = save(tmp_path / "s", vocoder=sizes)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize("component", ["codec", "vocoder", "code_prior"])
def test_weights_without_their_config_are_refused(tmp_path: Path, component: str) -> None:
    values, tensors = system()
    values.pop("codec")
    tensors = without(tensors, "codec.") | {f"{component}.x": torch.zeros(1)}
    checkpoint.save(tmp_path / "s", values, tensors, "")
    with pytest.raises(CheckpointError, match=f"1 weights of a {component} but no config for it"):
        load(tmp_path / "s")


def test_a_folder_may_hold_a_code_prior(tmp_path: Path) -> None:
    model = load(save_system_with_prior(tmp_path / "s"))
    assert model.code_prior is not None
    assert not model.code_prior.training
    bits, _ = model.code_bits(model.predict(CROPS))
    assert bits is not None
    assert bits.shape == (2,)
    assert (bits > 0).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_q": 3}, "predict 2 codebooks of 16, the code prior is of 3 codebooks of 16; they do not fit"),
        ({"codebook_size": 32}, "predict 2 codebooks of 16, the code prior is of 2 codebooks of 32"),
        ({"speaker_dim": 9}, "speaker embeddings of 163 dimensions, the code prior of 9; they do not fit"),
    ],
)
def test_a_code_prior_of_other_sizes_is_refused(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    folder = save_system_with_prior(tmp_path / "s", code_prior=sizes)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["codec", "speaker"])
def test_a_code_prior_trained_with_another_codec_or_speaker_encoder_is_refused(
    tmp_path: Path, name: str
) -> None:
    loaded = checkpoint.load(save_system_with_prior(tmp_path / "s"))
    loaded.config["code_prior"][name] = "0123"
    expected = f"trained with {name} 0123, the model's {name} is .*; train one with the model's"
    with pytest.raises(CheckpointError, match=expected):
        Lip2Speech.from_checkpoint(loaded, "cpu")
    del loaded.config["code_prior"][name]
    with pytest.raises(CheckpointError, match=f"config is wrong .*{name}"):
        Lip2Speech.from_checkpoint(loaded, "cpu")


def test_a_code_prior_without_speaker_conditioning_fits_any_speaker_encoder(tmp_path: Path) -> None:
    loaded = checkpoint.load(save_system_with_prior(tmp_path / "s", code_prior={"speaker_dim": 0}))
    loaded.config["code_prior"]["speaker"] = "0123"
    model = Lip2Speech.from_checkpoint(loaded, "cpu")
    bits, _ = model.code_bits(model.predict(CROPS))
    assert bits is not None
    assert bits.shape == (2,)


def test_a_calibration_on_code_nll_requires_a_code_prior(tmp_path: Path) -> None:
    config = PipelineConfig(default_voice="ann", confidence=Calibration(bias=1.0, code_nll=-2.0))
    load(save_system_with_prior(tmp_path / "with", inference=to_dict(config)))
    folder = save(tmp_path / "without", inference=to_dict(config))
    with pytest.raises(CheckpointError, match="with a code prior that is not in it; calibrate it again"):
        load(folder)


def test_an_unknown_vocoder_is_refused(tmp_path: Path) -> None:
    loaded = checkpoint.load(save(tmp_path / "s", vocoder={}))
    loaded.config["vocoder"]["name"] = "melgan"
    with pytest.raises(CheckpointError, match="config is wrong .*'melgan'"):
        Lip2Speech.from_checkpoint(loaded, "cpu")


def test_a_model_without_stored_voices_requires_a_voice(tmp_path: Path) -> None:
    model = load(save(tmp_path / "s", no_voice=True, inference=inference("mel", "")))
    with pytest.raises(ValueError, match="no default voice"):
        model.synthesize(CROPS)
    assert model.synthesize(CROPS, torch.zeros(163)).shape == (1280,)


def test_a_model_with_stored_voices_requires_a_default_voice(tmp_path: Path) -> None:
    folder = save(tmp_path / "s", inference=inference("mel", ""))
    with pytest.raises(CheckpointError, match="voice '' is not in it .*voices ann"):
        load(folder)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = save_codec(tmp_path / "c")
    with pytest.raises(CheckpointError, match="holds 'codec', expected 'lip2speech'"):
        load(folder)
