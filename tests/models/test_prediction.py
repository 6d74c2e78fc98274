"""Output of the heads (lip2speech/models/prediction.py)."""

import pytest
import torch

from lip2speech.models.prediction import Prediction


def test_a_required_field_is_returned() -> None:
    mel = torch.zeros(1, 80, 4)
    assert Prediction(mel=mel).require("mel") is mel


def test_a_missing_field_is_an_error_that_lists_the_others() -> None:
    prediction = Prediction(mel=torch.zeros(1, 80, 4), speaker=torch.zeros(1, 163))
    with pytest.raises(ValueError, match=r"needs codes, the model predicts \['mel', 'speaker'\]; choose"):
        prediction.require("codes")


def test_a_slice_of_frames_has_its_steps_of_every_field() -> None:
    mel, codes, speaker = torch.rand(1, 80, 20), torch.rand(1, 2, 15), torch.rand(1, 163)
    part = Prediction(mel=mel, codes=codes, speaker=speaker).slice_frames(1, 3, frames=5)
    assert torch.equal(part.require("mel"), mel[..., 4:16])
    assert torch.equal(part.require("codes"), codes[..., 3:12])
    assert part.speaker is speaker
    assert part.unit_logits is None
