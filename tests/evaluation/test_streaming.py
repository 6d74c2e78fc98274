"""Streaming rows of an evaluation (lip2speech/evaluation/streaming.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech.evaluation.dataset import EvaluationItem
from lip2speech.evaluation.streaming import stream_configs, stream_item
from lip2speech.pipeline import Lip2Speech
from lip2speech.video import load_roi


@pytest.fixture(scope="module")
def model() -> Lip2Speech:
    return Lip2Speech.from_pretrained()


def make_item(video: Path | None) -> EvaluationItem:
    def crop() -> object:
        assert video is not None
        return load_roi(video)[0]

    return EvaluationItem("sample", "test", "nobody", "", lambda: torch.zeros(1), crop, video)  # type: ignore[arg-type]


def test_a_lookahead_sets_the_chunk_of_causal_models_and_the_lookahead_of_windows() -> None:
    configs = stream_configs([0, 80, 400])
    assert list(configs) == [f"streaming, {ms} ms look-ahead" for ms in (0, 80, 400)]
    assert [(c.chunk, c.lookahead) for c in configs.values()] == [(1, 0), (3, 2), (11, 10)]


@pytest.mark.parametrize("ms", [30, -40, 10_000])
def test_a_lookahead_that_is_no_number_of_frames_within_a_window_is_refused(ms: int) -> None:
    with pytest.raises(ValueError, match=f"a multiple of 40 ms up to 2800, got {ms}"):
        stream_configs([ms])


def test_with_a_long_lookahead_streaming_is_close_to_offline_synthesis(model: Lip2Speech, clip: Path) -> None:
    offline = model.convert(clip).wav
    assert offline is not None
    (config,) = stream_configs([800]).values()
    audio = stream_item(model, make_item(clip), None, model.config.vocoder, config)
    assert audio.wav.shape == offline.shape
    power = [wav.unfold(0, 320, 160).square().mean(1).log1p() for wav in (audio.wav, offline)]
    assert float(torch.corrcoef(torch.stack(power))[0, 1]) > 0.9
    assert audio.latency_ms > 800
    assert audio.compute_s > 0


def test_prepared_clips_cannot_be_streamed(model: Lip2Speech) -> None:
    (config,) = stream_configs([80]).values()
    with pytest.raises(ValueError, match="sample: streaming needs the video file"):
        stream_item(model, make_item(None), None, "griffin-lim", config)
