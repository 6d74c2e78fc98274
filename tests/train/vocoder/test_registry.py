"""Which vocoder a recipe trains (lip2speech/train/vocoder/__init__.py)."""

from typing import Any, get_args

import pytest

from lip2speech.config import ConfigError, from_dict, to_dict
from lip2speech.train.vocoder import TASKS, VocoderTrainConfig
from lip2speech.vocoders import TRAINED_VOCODERS

RECIPE: Any = VocoderTrainConfig


def test_every_vocoder_with_weights_can_be_trained() -> None:
    assert {kind().name for kind in get_args(VocoderTrainConfig)} == set(TRAINED_VOCODERS)
    assert set(TASKS) == set(get_args(VocoderTrainConfig))


@pytest.mark.parametrize("name", sorted(TRAINED_VOCODERS))
def test_the_kind_of_a_recipe_says_which(name: str) -> None:
    recipe = from_dict(RECIPE, {"kind": name})
    assert type(recipe.sizes).__name__.lower() == f"{name}config"
    assert from_dict(RECIPE, to_dict(recipe)) == recipe


def test_a_recipe_without_a_kind_is_a_wavenets() -> None:
    assert from_dict(RECIPE, {}).name == "wavenet"
    with pytest.raises(ConfigError, match="unknown key 'hifigan'"):
        from_dict(RECIPE, {"hifigan": {}})
    with pytest.raises(ConfigError, match="kind 'melgan' is unknown; leave it out, or one of 'wavenet'"):
        from_dict(RECIPE, {"kind": "melgan"})
