"""A prepared model gives the same output, whatever its measurement chose."""

import copy

import pytest
import torch
from torch import nn

from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.modules import fusing as inference
from lip2speech.modules.fusing import PackedLinear, prepare

SMALL = AVHubertConfig(
    resnet_width=4, encoder_layers=2, embed_dim=32, ffn_dim=48, heads=4, conv_pos=8, conv_pos_groups=4
)


@pytest.fixture
def encoder() -> AVHubert:
    torch.manual_seed(0)
    model = AVHubert(SMALL)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("helps", [True, False])
def test_a_prepared_model_gives_the_same_output(
    encoder: AVHubert, helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "packing_helps", lambda linear: helps)
    fast = copy.deepcopy(encoder)
    done = prepare(fast)
    assert (done.packed > 0, done.plain > 0) == (helps, not helps)
    assert done.folded == 8 + 1 + 1, "eight blocks, the stem, the positions"
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    for time in (1, 5, 80):
        video, audio = torch.randn(2, 1, time, 40, 40), torch.randn(2, 104, time)
        expected, found = encoder(video, audio), fast(video, audio)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.no_grad()
def test_preparing_twice_changes_nothing_more(encoder: AVHubert) -> None:
    prepare(encoder)
    video = torch.randn(1, 1, 3, 40, 40)
    once = encoder(video)
    prepare(encoder)
    torch.testing.assert_close(encoder(video), once, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_equals_the_plain_one(bias: bool) -> None:
    linear, x = nn.Linear(24, 40, bias=bias), torch.randn(2, 7, 24)
    torch.testing.assert_close(PackedLinear(linear)(x), linear(x), rtol=0, atol=1e-5)


def test_packing_that_is_wrong_slow_or_impossible_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(24, 40)
    assert not inference.packing_helps(nn.Linear(4, 4, dtype=torch.float64))
    monkeypatch.setattr(inference, "CLEAR_GAIN", 0.0)
    assert not inference.packing_helps(linear), "never faster than in no time"
    monkeypatch.setattr(inference, "CLEAR_GAIN", 1e9)
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(1, 75, 40))
    assert not inference.packing_helps(linear), "wrong"
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.ops.mkldnn.no_such_operator(x))
    assert not inference.packing_helps(linear), "gone"


def test_a_model_in_training_is_refused(encoder: AVHubert) -> None:
    with pytest.raises(ValueError, match="call eval"):
        prepare(encoder.train())
