"""Live rows: which settings a look-ahead stands for, and that they speak the clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lip2speech import Lip2Speech
from lip2speech.evaluation.dataset import EvaluationItem
from lip2speech.evaluation.streaming import live_configs, speak_live
from lip2speech.video import load_roi


def item_of(video: Path | None) -> EvaluationItem:
    return EvaluationItem(
        "sample", "test", "nobody", "", lambda: torch.zeros(1), lambda: load_roi(video)[0], video
    )  # type: ignore[arg-type]


def test_a_look_ahead_is_a_chunk_or_what_a_window_sees() -> None:
    configs = live_configs([0, 80, 400])
    assert list(configs) == ["live, 0 ms ahead", "live, 80 ms ahead", "live, 400 ms ahead"]
    assert [(c.chunk, c.ahead) for c in configs.values()] == [(1, 0), (3, 2), (11, 10)]


@pytest.mark.parametrize("ms", [30, -40, 10_000])
def test_a_look_ahead_is_a_number_of_frames(ms: int) -> None:
    with pytest.raises(ValueError, match=f"a multiple of 40 ms up to 2800, got {ms}"):
        live_configs([ms])


def test_more_to_see_is_nearer_to_the_whole(clip: Path) -> None:
    speech, item = Lip2Speech.from_pretrained(), item_of(clip)
    whole = speech.convert(clip).wav
    assert whole is not None

    def likeness(ms: int) -> float:
        (config,) = live_configs([ms]).values()
        wav = speak_live(speech, item, None, speech.config.vocoder, config).wav
        assert wav.shape == whole.shape
        power = [w.unfold(0, 320, 160).square().mean(1).log1p() for w in (wav, whole)]
        return float(torch.corrcoef(torch.stack(power))[0, 1])

    assert likeness(800) > 0.9


def test_prepared_clips_have_no_stream() -> None:
    (config,) = live_configs([80]).values()
    with pytest.raises(ValueError, match="live speech needs the video file"):
        speak_live(Lip2Speech.from_pretrained(), item_of(None), None, "griffin-lim", config)
