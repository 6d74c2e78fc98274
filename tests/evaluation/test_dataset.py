"""Which clips are evaluated, and whose voice they get."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech.evaluation.dataset import EvaluationItem, choose, enrolment, voice_of
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder


def item(clip_id: str, speaker: str = "ann", split: str = "test") -> EvaluationItem:
    return EvaluationItem(
        clip_id,
        split,
        speaker,
        "",
        lambda: torch.rand(16000),
        lambda: np.zeros((25, 96, 96), np.uint8),
        Path(),
    )


def test_a_limit_spreads_over_the_split_in_the_order_of_ids() -> None:
    items = [item(f"{i:02d}") for i in reversed(range(10))] + [item("x", split="train")]
    assert [i.id for i in choose(items, "test", 4)] == ["00", "02", "05", "07"]
    assert len(choose(items, "test")) == 10 == len(choose(items, "test", 99))


def test_a_split_without_clips_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ValueError, match="'valid'; there are: test"):
        choose([item("a")], "valid")
    with pytest.raises(ValueError, match="limit must be 1"):
        choose([item("a")], "test", 0)


def test_the_voice_is_another_utterance_of_the_same_person() -> None:
    items = [item("a"), item("b"), item("c", speaker="ben")]
    assert enrolment(items[0], items) == [items[1]]
    assert enrolment(items[1], items) == [items[0]]
    assert enrolment(items[2], items) == [] and voice_of(items[2], items, LTASSpeakerEncoder()) is None


def test_a_voice_is_taken_from_as_much_as_enrolment_asks_for() -> None:
    read: list[str] = []

    def lending(name: str) -> EvaluationItem:
        def wav() -> torch.Tensor:
            read.append(name)
            return 0.1 * torch.randn(4 * 16000)

        return replace(item(name), wav=wav)

    items = [lending(f"c{i}") for i in range(9)]
    assert voice_of(items[3], items, LTASSpeakerEncoder()) is not None
    assert len(read) == 4 and "c3" not in read  # 15 s are reached with the fourth


def test_the_voice_comes_from_training_where_that_is_possible_and_stays_the_same() -> None:
    training = [item(f"t{i}", split="train") for i in range(5)]
    items = [*training, *(item(f"e{i}") for i in range(20))]
    lent = [enrolment(i, items) for i in items[5:]]
    assert all(set(map(id, others)) == set(map(id, training)) for others in lent)
    assert len({others[0].id for others in lent}) > 1
    assert [enrolment(i, items[::-1]) for i in items[5:]] == lent
