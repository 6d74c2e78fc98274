"""Choice of the vocoder by `kind` (lip2speech/train/vocoder/__init__.py)."""

from typing import Any, get_args

import pytest

from lip2speech.config import ConfigError, from_dict, to_dict
from lip2speech.train.vocoder import TASKS, VocoderTrainConfig
from lip2speech.vocoders import TRAINED_VOCODERS

CONFIG: Any = VocoderTrainConfig


def test_every_trained_vocoder_has_a_task() -> None:
    assert {kind().name for kind in get_args(VocoderTrainConfig)} == set(TRAINED_VOCODERS)
    assert set(TASKS) == set(get_args(VocoderTrainConfig))


@pytest.mark.parametrize("name", sorted(TRAINED_VOCODERS))
def test_kind_selects_the_vocoder(name: str) -> None:
    config = from_dict(CONFIG, {"kind": name})
    assert type(config.vocoder_config).__name__.lower() == f"{name}config"
    assert from_dict(CONFIG, to_dict(config)) == config


def test_the_default_kind_is_wavenet() -> None:
    assert from_dict(CONFIG, {}).name == "wavenet"
    with pytest.raises(ConfigError, match="unknown key 'hifigan'"):
        from_dict(CONFIG, {"hifigan": {}})
    with pytest.raises(ConfigError, match="kind 'melgan' is unknown; leave it out, or one of 'wavenet'"):
        from_dict(CONFIG, {"kind": "melgan"})
