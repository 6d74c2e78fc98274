"""Low-rank adapters (lip2speech/train/adapt/lora.py)."""

import pytest
import torch

from lip2speech.train.adapt.lora import add_adapters, merge_adapters
from tests.factories import make_model

LAYERS = ("video_proj", "q_proj", "fc1", "heads.in_proj")


def predicted_mel(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    video, speaker = torch.randn(1, 1, 5, 88, 88), torch.randn(1, 163)
    with torch.no_grad():
        return model(video, speaker).require("mel")


def test_new_adapters_change_no_output_and_train_few_parameters() -> None:
    model, plain = make_model(), make_model()
    before = sum(p.numel() for p in model.parameters())
    trainable = add_adapters(model, LAYERS, 2)
    assert torch.equal(predicted_mel(model), predicted_mel(plain))
    assert 0 < sum(p.numel() for p in trainable) < before / 4
    assert not model.frontend.encoder.layers[0].fc2.weight.requires_grad


def test_merging_keeps_the_output_and_restores_the_original_tensor_names() -> None:
    model = make_model()
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for parameter in add_adapters(model, LAYERS, 2):
        torch.nn.init.normal_(parameter, std=0.1)
    adapted = predicted_mel(model)
    merge_adapters(model)
    assert (predicted_mel(model) - adapted).abs().max() < 1e-5
    assert (adapted - predicted_mel(make_model())).abs().max() > 1e-2
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_an_unknown_target_module_is_refused() -> None:
    with pytest.raises(
        ValueError, match="lora_target_modules: no linear layer ends in 'nonsense'; there are "
    ):
        add_adapters(make_model(), ["nonsense"], 2)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="lora_rank must be 1 or more, got 0"):
        add_adapters(make_model(), LAYERS, 0)
