"""Codecs from configs and folders (lip2speech/codecs/builders.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech import checkpoint
from lip2speech.codecs import (
    EnCodecConfig,
    MelCodecConfig,
    code_fingerprint,
    codec_from_dict,
    codec_name,
    load_codec,
)
from lip2speech.config import ConfigError
from tests.factories import CODEC, make_codec, save_codec


def test_a_saved_codec_gives_the_same_codes_and_audio(tmp_path: Path) -> None:
    codec, loaded = make_codec(), load_codec(save_codec(tmp_path / "codec"))
    wav = 0.1 * torch.randn(1, 1, 3200, generator=torch.Generator().manual_seed(0))
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded.encode(wav), codec.encode(wav))
        assert torch.equal(loaded.decode(codec.encode(wav)), codec.decode(codec.encode(wav)))


@pytest.mark.parametrize(("config", "name"), [(MelCodecConfig(), "melcodec"), (EnCodecConfig(), "encodec")])
def test_a_config_identifies_its_codec(config: object, name: str) -> None:
    assert codec_name(config) == name


def test_an_unknown_codec_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="no codec is called 'dac'; known: encodec, melcodec"):
        codec_from_dict("dac", {})
    with pytest.raises(ValueError, match="config must be one of EnCodecConfig, .*, got dict"):
        codec_name({})


def test_an_unknown_key_is_an_error_that_names_the_codec() -> None:
    with pytest.raises(ConfigError, match="codec melcodec: unknown key 'quantiser'; did you mean quantizer"):
        codec_from_dict("melcodec", {"quantiser": {}})


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "units", {"kind": "kmeans-mfcc"}, {"mean": torch.zeros(1)}, "")
    with pytest.raises(ValueError, match="holds 'kmeans-mfcc', expected 'codec'"):
        load_codec(tmp_path / "units")


def test_a_folder_without_a_codec_config_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "codec", {"kind": "codec"}, {"mean": torch.zeros(1)}, "")
    with pytest.raises(checkpoint.CheckpointError, match="config.yaml lacks name and codec"):
        load_codec(tmp_path / "codec")


def test_the_fingerprint_depends_on_encoder_and_codebooks_only() -> None:
    codec, other = make_codec(CODEC), make_codec(CODEC)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.add_(1)
        other.quantizer.codebooks[0].cluster_size.add_(1)
    assert code_fingerprint(other) == code_fingerprint(codec)
    with torch.no_grad():
        other.quantizer.codebooks[0].entries[0] += 1
    assert code_fingerprint(other) != code_fingerprint(codec)
