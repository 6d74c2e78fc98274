"""Checkpoint folders of trained vocoders (lip2speech/vocoders/registry.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.checkpoint import CheckpointError
from lip2speech.config import to_dict
from lip2speech.vocoders import HiFiGAN, HiFiGANConfig, load_vocoder, vocoder_from_dict
from tests.factories import save_codec

SMALL = HiFiGANConfig(n_units=8, unit_dim=4, speaker_dim=6, channels=32)


def test_a_saved_vocoder_loads_unchanged(tmp_path: Path) -> None:
    vocoder = HiFiGAN(SMALL)
    values = {"kind": "vocoder", "name": "hifigan", "vocoder": to_dict(SMALL)}
    checkpoint.save(tmp_path / "v", values, vocoder.state_dict(), "")
    found = load_vocoder(tmp_path / "v")
    assert isinstance(found, HiFiGAN)
    assert not found.training
    assert found.config == SMALL
    for name, weight in vocoder.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds 'codec', expected 'vocoder'"):
        load_vocoder(save_codec(tmp_path / "codec"))


def test_an_unknown_vocoder_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="no vocoder is called 'melgan'; known: hifigan"):
        vocoder_from_dict("melgan", {})
