"""Angular margin loss and equal error rate (lip2speech/train/speaker/loss.py)."""

import pytest
import torch

from lip2speech.train.speaker.loss import aam_loss, equal_error_rate


def test_the_margin_raises_the_loss_and_a_margin_of_zero_is_the_cross_entropy() -> None:
    cosines, labels = torch.tensor([[0.8, 0.1], [0.0, 0.7]]), torch.tensor([0, 1])
    plain = torch.nn.functional.cross_entropy(30 * cosines, labels)
    torch.testing.assert_close(aam_loss(cosines, labels, 0.0, 30.0), plain)
    assert aam_loss(cosines, labels, 0.2, 30.0) > plain


def test_the_equal_error_rate_of_known_pairs() -> None:
    embeddings = torch.eye(4)[[0, 0, 1, 1]]
    assert equal_error_rate(embeddings, torch.tensor([0, 0, 1, 1])) == 0
    assert equal_error_rate(embeddings, torch.tensor([0, 1, 0, 1])) >= 0.5
    with pytest.raises(ValueError, match="two clips of one speaker"):
        equal_error_rate(embeddings[:2], torch.tensor([0, 1]))
