"""The heads of lip2speech-unit (lip2speech/models/heads/conformer.py); choice of heads by `kind`."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lip2speech.config import ConfigError, from_dict, to_dict
from lip2speech.models.frontends.avhubert import AVHubert
from lip2speech.models.frontends.resnet import ResNetFrontEnd
from lip2speech.models.heads.conformer import ConformerHeads, ConformerHeadsConfig
from lip2speech.models.lip2speech import LipModel, ModelConfig

SMALL = ConformerHeadsConfig(
    hidden_dim=16,
    projection=0,
    layers=1,
    ffn_dim=16,
    heads=2,
    kernel_size=3,
    speaker_dim=6,
    n_mels=5,
    n_units=7,
)
MODEL: dict[str, Any] = {"frontend": {"kind": "resnet", "resnet_width": 2}, "heads": to_dict(SMALL)}


def make(config: ConformerHeadsConfig = SMALL, channels: int = 12) -> ConformerHeads:
    torch.manual_seed(0)
    return ConformerHeads(channels, config).eval()


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("projection", [0, 9])
def test_a_video_frame_gives_four_mel_frames_and_two_units(batch: int, frames: int, projection: int) -> None:
    heads = make(replace(SMALL, projection=projection))
    found = heads(torch.randn(batch, frames, 12), torch.randn(batch, 6))
    assert found.require("mel").shape == (batch, 5, 4 * frames)
    assert found.require("unit_logits").shape == (batch, 7, 2 * frames)
    assert found.require("speaker").shape == (batch, 6)
    assert found.codes is None
    assert found.pitch is None


@torch.no_grad()
def test_only_the_mel_depends_on_the_speaker() -> None:
    heads, features = make(), torch.randn(1, 4, 12)
    one, other = (heads(features, torch.full((1, 6), value)) for value in (0.0, 1.0))
    assert torch.equal(one.unit_logits, other.unit_logits)
    assert not torch.allclose(one.mel, other.mel)


@torch.no_grad()
def test_each_unit_step_yields_two_mel_frames() -> None:
    heads = make()
    heads.mel.weight.zero_()
    heads.mel.bias.copy_(torch.arange(10.0))
    mel = heads(torch.randn(1, 2, 12), torch.randn(1, 6)).require("mel")
    assert mel[0, :, ::2].T.tolist() == [[0, 2, 4, 6, 8]] * 4
    assert mel[0, :, 1::2].T.tolist() == [[1, 3, 5, 7, 9]] * 4


@torch.no_grad()
def test_special_tokens_are_never_units() -> None:
    heads = make()
    heads.units.bias[: SMALL.n_special_tokens] = 1e6
    logits = heads(torch.randn(1, 2, 12), torch.randn(1, 6)).require("unit_logits")
    assert logits.shape[1] == SMALL.n_units
    assert logits.abs().max() < 1e3


@torch.no_grad()
def test_padding_changes_valid_frames_only_with_conv_over_padding() -> None:
    features, speaker, mask = torch.randn(2, 6, 12), torch.randn(2, 6), torch.zeros(2, 6, dtype=torch.bool)
    mask[1, 4:] = True
    for conv_over_padding in (False, True):
        heads = make(replace(SMALL, conv_over_padding=conv_over_padding))
        batch, alone = heads(features, speaker, mask), heads(features[1:, :4], speaker[1:])
        apart = (batch.require("mel")[1, :, :16] - alone.require("mel")[0]).abs().max()
        apart_units = (batch.require("unit_logits")[1, :, :8] - alone.require("unit_logits")[0]).abs().max()
        assert (max(apart, apart_units) < 1e-5) is not conv_over_padding


def test_codes_and_steps_are_refused() -> None:
    heads = make()
    with pytest.raises(ValueError, match="conformer heads predict no codes"):
        heads(torch.randn(1, 2, 12), torch.randn(1, 6), codes=torch.zeros(1, 1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="only causal heads run step by step"):
        heads.step(torch.randn(1, 2, 12), torch.randn(1, 6))


def test_every_weight_has_a_gradient() -> None:
    torch.manual_seed(0)
    heads, features, speaker = make().train(), torch.randn(2, 4, 12), torch.randn(2, 6)
    units, mel = torch.randint(7, (2, 8)), torch.randn(2, 5, 16)
    optimizer = torch.optim.Adam(heads.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        found = heads(features, speaker)
        loss = torch.nn.functional.cross_entropy(found.require("unit_logits"), units)
        loss = loss + (found.require("mel") - mel).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_predicts_lists_mel_units_and_speaker() -> None:
    assert SMALL.predicts(("mel", "unit_logits", "speaker"))
    assert not SMALL.predicts(("mel", "pitch"))
    assert not SMALL.predicts(("codes",))


# Models with other front ends and heads


@torch.no_grad()
def test_kind_selects_front_end_and_heads() -> None:
    config = from_dict(ModelConfig, MODEL)
    model = LipModel(config).eval()
    assert isinstance(model.frontend, ResNetFrontEnd)
    assert isinstance(model.heads, ConformerHeads)
    assert from_dict(ModelConfig, to_dict(config)) == config
    found = model(torch.randn(1, 1, 3, 88, 88), torch.randn(1, 6))
    assert found.require("mel").shape == (1, 5, 12)


def test_the_default_kinds_are_avhubert_and_convolutional_heads() -> None:
    with torch.device("meta"):
        model = LipModel(
            from_dict(ModelConfig, {"frontend": {"encoder_layers": 1}, "heads": {"hidden_dim": 8}})
        )
    assert isinstance(model.frontend, AVHubert)
    assert model.config.heads.hidden_dim == 8


def test_an_unknown_kind_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="model: heads: kind 'lstm' is unknown; leave it out, or .*'conformer'"
    ):
        from_dict(ModelConfig, {"heads": {"kind": "lstm"}}, "model")
    with pytest.raises(ConfigError, match="unknown key 'hiden'; did you mean hidden"):
        from_dict(ModelConfig, {"heads": {"kind": "conformer", "hiden": 8}})
    with pytest.raises(ConfigError, match="unknown key 'hiden'; did you mean hidden"):
        from_dict(ModelConfig, {"heads": {"hiden": 8}})
    with pytest.raises(ConfigError, match="is unknown"):
        from_dict(ModelConfig, {"heads": {"kind": ["conformer"]}})
