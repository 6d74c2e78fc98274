"""Cross entropy of tokens and CTC (lip2speech/losses/tokens.py)."""

import math

import pytest
import torch

from lip2speech.losses import ctc_loss, token_loss
from tests.losses.helpers import noise


def test_token_loss_ignores_padding() -> None:
    logits = noise(1, 5, 4)
    tokens = torch.tensor([[1, 3, -100, -100]])
    loss, accuracy = token_loss(logits, tokens)
    shorter, shorter_accuracy = token_loss(logits[..., :2], tokens[:, :2])
    assert (float(loss), float(accuracy)) == pytest.approx((float(shorter), float(shorter_accuracy)))


def test_token_loss_of_uniform_logits_is_log_k() -> None:
    loss, _ = token_loss(torch.zeros(2, 8, 3), torch.zeros(2, 3, dtype=torch.long), label_smoothing=0.0)
    assert float(loss) == pytest.approx(math.log(8))


def test_token_loss_reports_accuracy() -> None:
    logits = torch.eye(3)[None] * 10  # (1, K, T): the argmax of step t is t
    assert float(token_loss(logits, torch.tensor([[0, 1, 0]]))[1]) == pytest.approx(2 / 3)


def test_token_loss_of_several_codebooks_is_their_mean() -> None:
    logits, tokens = noise(2, 5, 3, 4), torch.randint(5, (2, 3, 4))
    loss, _ = token_loss(logits, tokens)
    losses = [float(token_loss(logits[:, :, i], tokens[:, i])[0]) for i in range(3)]
    assert float(loss) == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padded_logits_do_not_change_the_loss_of_a_smaller_codebook(smoothing: float) -> None:
    small, large = noise(2, 3, 4).requires_grad_(), noise(2, 5, 4, seed=1)
    padded = torch.nn.functional.pad(small, (0, 0, 0, 2), value=-torch.inf)
    tokens = torch.tensor([[[0, 2, 1, -100], [4, 3, 2, -100]]]).expand(2, -1, -1)
    both, _ = token_loss(torch.stack([padded, large], 2), tokens, label_smoothing=smoothing)
    alone = [
        token_loss(x, tokens[:, i], label_smoothing=smoothing)[0].item() for i, x in enumerate((small, large))
    ]
    assert both.item() == pytest.approx(sum(alone) / 2, rel=1e-5)
    both.backward()
    assert small.grad is not None
    assert small.grad.isfinite().all()
    assert small.grad.any()


def test_token_loss_without_tokens_is_0_and_has_no_gradient() -> None:
    logits = noise(1, 5, 4).requires_grad_()
    loss, accuracy = token_loss(logits, torch.full((1, 4), -100))
    loss.backward()
    assert (loss.item(), accuracy.item()) == (0.0, 0.0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ctc_loss_sums_over_all_alignments() -> None:
    logits = noise(1, 3, 4)
    p = logits[0].softmax(-1)
    alignments = [
        (1, 2, 2),
        (1, 1, 2),
        (0, 1, 2),
        (1, 0, 2),
        (1, 2, 0),
    ]  # "ab" in three steps, 0 is the blank
    likelihood = sum(float(p[0, i] * p[1, j] * p[2, k]) for i, j, k in alignments)
    loss = ctc_loss(logits, torch.tensor([3]), torch.tensor([[1, 2]]))
    assert float(loss) == pytest.approx(-math.log(likelihood) / 2, rel=1e-5)  # per character


def test_ctc_loss_ignores_padding_and_clips_without_a_transcript() -> None:
    logits = noise(3, 6, 4)
    text = torch.tensor([[1, 2, 3], [2, -100, -100], [-100, -100, -100]])
    loss = ctc_loss(logits, torch.tensor([6, 4, 6]), text)
    alone = [
        ctc_loss(logits[:1], torch.tensor([6]), text[:1]),
        ctc_loss(logits[1:2, :4], torch.tensor([4]), text[1:2, :1]),
    ]
    assert float(loss) == pytest.approx(float(sum(alone)) / 2, rel=1e-5)


def test_ctc_loss_is_0_without_a_transcript_or_when_it_is_too_long() -> None:
    logits = noise(1, 2, 4).requires_grad_()
    for text in (torch.full((1, 3), -100), torch.zeros(1, 0, dtype=torch.long), torch.tensor([[1, 2, 3]])):
        loss = ctc_loss(logits, torch.tensor([2]), text)
        loss.backward()
        assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
