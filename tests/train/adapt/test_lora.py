"""Low-rank adapters (lip2speech/train/adapt/lora.py): frozen, small, and gone after merging."""

import pytest
import torch

from lip2speech.train.adapt.lora import attach, merge
from tests.factories import make_model

LAYERS = ("video_proj", "q_proj", "fc1", "heads.inp")


def outputs(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    video, speaker = torch.randn(1, 1, 5, 88, 88), torch.randn(1, 163)
    with torch.no_grad():
        return model(video, speaker).require("mel")


def test_a_new_adapter_changes_nothing_and_little_learns() -> None:
    model, plain = make_model(), make_model()
    before = sum(p.numel() for p in model.parameters())
    learning = attach(model, LAYERS, 2)
    assert torch.equal(outputs(model), outputs(plain))
    assert 0 < sum(p.numel() for p in learning) < before / 4
    assert not model.frontend.encoder.layers[0].fc2.weight.requires_grad


def test_merged_speaks_as_before_merging_with_the_tensors_it_had() -> None:
    model = make_model()
    names = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for parameter in attach(model, LAYERS, 2):
        torch.nn.init.normal_(parameter, std=0.1)
    apart = outputs(model)
    merge(model)
    assert (outputs(model) - apart).abs().max() < 1e-5
    assert (apart - outputs(make_model())).abs().max() > 1e-2
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == names


def test_a_layer_that_is_not_there_and_no_rank_are_refused() -> None:
    with pytest.raises(ValueError, match="no linear layer's name ends in 'nonsense'; there are "):
        attach(make_model(), ["nonsense"], 2)
    with pytest.raises(ValueError, match="rank must be 1 or more, got 0"):
        attach(make_model(), LAYERS, 0)
