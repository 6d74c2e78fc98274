"""Selection of clips and of enrollment utterances (lip2speech/evaluation/dataset.py)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lip2speech.evaluation.dataset import (
    EvaluationItem,
    enrollment_embedding,
    enrollment_items,
    select_items,
)
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder


def make_item(id: str, speaker: str = "ann", split: str = "test") -> EvaluationItem:
    def load_wav() -> torch.Tensor:
        return torch.rand(16000)

    def load_roi() -> np.ndarray:
        return np.zeros((25, 96, 96), np.uint8)

    return EvaluationItem(id, split, speaker, "", load_wav, load_roi)


def test_a_limit_selects_evenly_spaced_clips_in_the_order_of_ids() -> None:
    items = [make_item(f"{i:02d}") for i in reversed(range(10))] + [make_item("x", split="train")]
    assert [item.id for item in select_items(items, "test", 4)] == ["00", "02", "05", "07"]
    assert len(select_items(items, "test")) == 10 == len(select_items(items, "test", 99))


def test_a_split_without_clips_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match="'valid'; there are: test"):
        select_items([make_item("a")], "valid")


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be 1"):
        select_items([make_item("a")], "test", 0)


def test_enrollment_uses_other_utterances_of_the_same_speaker() -> None:
    a, b, c = items = [make_item("a"), make_item("b"), make_item("c", speaker="ben")]
    assert enrollment_items(a, items) == [b]
    assert enrollment_items(b, items) == [a]
    assert enrollment_items(c, items) == []


def test_a_speaker_with_one_utterance_has_no_embedding() -> None:
    item = make_item("c", speaker="ben")
    assert enrollment_embedding(item, [item], LTASSpeakerEncoder()) is None


def test_enrollment_stops_at_the_recommended_duration() -> None:
    loaded: list[str] = []

    def recorded(id: str) -> EvaluationItem:
        def load_wav() -> torch.Tensor:
            loaded.append(id)
            return 0.1 * torch.randn(4 * 16000)

        return replace(make_item(id), load_wav=load_wav)

    items = [recorded(f"c{i}") for i in range(9)]
    assert enrollment_embedding(items[3], items, LTASSpeakerEncoder()) is not None
    assert len(loaded) == 4  # 15 s are reached with the fourth
    assert "c3" not in loaded


def test_enrollment_prefers_the_training_split_and_depends_only_on_ids() -> None:
    training = [make_item(f"t{i}", split="train") for i in range(5)]
    items = [*training, *(make_item(f"e{i}") for i in range(20))]
    enrolled = [enrollment_items(item, items) for item in items[5:]]
    assert all({other.id for other in others} == {item.id for item in training} for others in enrolled)
    assert len({others[0].id for others in enrolled}) > 1
    assert [enrollment_items(item, items[::-1]) for item in items[5:]] == enrolled
