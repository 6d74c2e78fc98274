"""Loss balancer (lip2speech/losses/balancer.py): parity with EnCodec's, and non-finite gradients."""

import json

import pytest
import torch
from torch.nn import functional as F

from lip2speech.losses.balancer import Balancer
from tests.codecs.golden import FOLDER


def golden_losses(y: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
    """The four losses of the golden file."""
    return {
        "l_t": (y - t).abs().mean(),
        "l_f": 100 * (y - t).pow(2).mean(),
        "l_g": 7 * F.relu(1 - y).mean(),
        "l_feat": (y * t).sin().mean(),
    }


def test_gradients_of_three_steps_match_encodec() -> None:
    from safetensors import safe_open

    with safe_open(FOLDER / "balancer.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        golden = {name: file.get_tensor(name) for name in list(file.keys())}
    balancer = Balancer(config["weights"], total_norm=config["total_norm"], decay=config["ema_decay"])
    for step in range(3):
        y = (golden[f"s{step}.x"] @ golden["lin"]).requires_grad_()
        balancer(golden_losses(y, golden[f"s{step}.t"]), y).backward()
        torch.testing.assert_close(y.grad, golden[f"s{step}.grad"], rtol=1e-9, atol=1e-12)


def test_the_scale_of_a_loss_does_not_matter() -> None:
    y = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grads = []
    for scale in (1.0, 1e4):
        balanced = Balancer({"a": 1.0, "b": 2.0})({"a": scale * y.pow(2).sum(), "b": y.abs().sum()}, y)
        grads.append(torch.autograd.grad(balanced, y)[0])
    torch.testing.assert_close(grads[0], grads[1])


def test_the_balanced_gradient_reaches_the_parameters() -> None:
    weight = torch.ones(2, requires_grad=True)
    y = torch.tensor([[1.0, 2.0]]) * weight
    Balancer({"a": 1.0})({"a": y.sum()}, y).backward()
    torch.testing.assert_close(weight.grad, torch.tensor([1.0, 2.0]) / 2**0.5)  # gradient (1, 1) of norm 1


def test_a_non_finite_gradient_does_not_change_the_averages() -> None:
    balancer = Balancer({"a": 1.0})
    y = torch.ones(1, 2, requires_grad=True)
    balancer({"a": y.sum()}, y)
    before = balancer.state_dict()
    balancer({"a": y.sum() * float("nan")}, y)
    assert balancer.state_dict() == before


def test_a_resumed_balancer_gives_the_same_next_gradient() -> None:
    first, second = Balancer({"a": 1.0}), Balancer({"a": 1.0})
    y = torch.ones(1, 2, requires_grad=True)
    first({"a": 3 * y.sum()}, y)
    second.load_state_dict(first.state_dict())
    grads = [torch.autograd.grad(balancer({"a": 5 * y.sum()}, y), y)[0] for balancer in (first, second)]
    torch.testing.assert_close(grads[0], grads[1])
    fresh = torch.autograd.grad(Balancer({"a": 1.0})({"a": 5 * y.sum()}, y), y)[0]
    assert not torch.allclose(grads[1], fresh)


def test_a_loss_without_a_weight_is_refused() -> None:
    y = torch.ones(1, 2, requires_grad=True)
    with pytest.raises(ValueError, match="no weight for b; known: a"):
        Balancer({"a": 1.0})({"b": y.sum()}, y)
    with pytest.raises(ValueError, match="weights must be 0 or more"):
        Balancer({"a": -1.0})
