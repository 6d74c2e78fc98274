"""Fusing for inference (lip2speech/modules/fusing.py)."""

import copy

import pytest
import torch
from torch import nn

from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.modules.fusing import fold

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
def test_a_fused_model_gives_the_same_output(encoder: AVHubert) -> None:
    fused = copy.deepcopy(encoder)
    assert fold(fused) == 8 + 1 + 1, "eight blocks, the stem, the positions"
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    for time in (1, 5, 80):
        video, audio = torch.randn(2, 1, time, 40, 40), torch.randn(2, 104, time)
        expected, found = encoder(video, audio), fused(video, audio)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.no_grad()
def test_fusing_twice_equals_fusing_once(encoder: AVHubert) -> None:
    fold(encoder)
    video = torch.randn(1, 1, 3, 40, 40)
    once = encoder(video)
    fold(encoder)
    torch.testing.assert_close(encoder(video), once, rtol=0, atol=1e-5)


def test_a_model_in_training_mode_is_refused(encoder: AVHubert) -> None:
    with pytest.raises(ValueError, match="call eval"):
        fold(encoder.train())
