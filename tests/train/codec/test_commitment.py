"""Commitment losses in codec training (lip2speech/train/codec/commitment.py)."""

import pytest
import torch

from lip2speech.codecs import codec_from_dict
from lip2speech.train.codec.commitment import check_commit_weight, commitment_metrics, weighted_commitment
from tests.factories import SACODEC, make_codec


def test_commitment_losses_have_one_weight_or_one_each() -> None:
    commit = torch.tensor([2.0, 3.0])
    assert weighted_commitment((25.0, 5.0), commit) == 65
    assert weighted_commitment(0.5, commit) == 2.5
    assert weighted_commitment(0.5, commit[0]) == 1


def test_several_commitment_losses_are_logged_one_by_one() -> None:
    assert commitment_metrics(torch.tensor(2.0)) == {"loss/commit": 2}
    expected = {"loss/commit": 5, "loss/commit_0": 2, "loss/commit_1": 3}
    assert commitment_metrics(torch.tensor([2.0, 3.0])) == expected


def test_weights_that_do_not_fit_the_codec_are_refused() -> None:
    sacodec = codec_from_dict("sacodec", SACODEC)
    check_commit_weight((25.0, 5.0), sacodec)
    check_commit_weight(25.0, sacodec)
    with pytest.raises(ValueError, match="commit_weight has 3 values, SACodec has 2 commitment losses"):
        check_commit_weight((1.0, 2.0, 3.0), sacodec)
    with pytest.raises(ValueError, match="commit_weight has 2 values, MelCodec has 1"):
        check_commit_weight((25.0, 5.0), make_codec())
