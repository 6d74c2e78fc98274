"""Options, post-processing and results (lip2speech/synthesis.py)."""

import json
import math
from typing import Any

import pytest
import torch

from lip2speech.confidence.calibration import Calibration
from lip2speech.confidence.features import FEATURES, FrameFeatures
from lip2speech.synthesis import PostProcessor, ScoreSummary, SynthesisOptions, SynthesisResult
from lip2speech.video import FaceReport
from lip2speech.windows import RenderedFrames

CALIBRATION = Calibration(bias=5.0, unit_entropy=-10.0)


def frames(kinds: str) -> RenderedFrames:
    """Ones: "x" is a confident frame, "?" one with low confidence, "i" an interpolated one, "." one without a
    face."""
    values = torch.zeros(len(kinds), len(FEATURES) + 1)
    values[:, 0] = torch.tensor([float(kind == "?") for kind in kinds])
    values[:, -1] = 1
    bits = torch.tensor([math.nan if kind == "." else 6.0 for kind in kinds])
    return RenderedFrames(
        torch.ones(640 * len(kinds)),
        FrameFeatures(values, bits),
        torch.tensor([kind in "x?" for kind in kinds]),
        torch.tensor([kind != "." for kind in kinds]),
    )


def processed(mode: Any, kinds: str, threshold: float = 0.5, size: int = 10) -> torch.Tensor:
    post_process, whole = PostProcessor(CALIBRATION, threshold, mode), frames(kinds)
    pieces = [whole.cut(first, min(first + size, len(kinds))) for first in range(0, len(kinds), size)]
    return torch.cat([post_process(piece).wav for piece in pieces])


SECONDS = "x" * 25 + "?" * 50 + "x" * 50 + "." * 25


@pytest.mark.parametrize("size", [1, 10, 150])
def test_a_frame_is_muted_when_the_second_that_ends_with_it_has_low_confidence(size: int) -> None:
    wav = processed("mute", SECONDS, size=size)
    assert wav[: 25 * 640].eq(1).all()
    low = [i for i in range(150) if not wav[i * 640 + 160 : (i + 1) * 640].any()]
    assert low == [*range(37, 87), *range(125, 150)]
    assert wav.diff().abs().max() < 0.01


def test_a_tone_replaces_low_confidence_but_not_frames_without_a_face() -> None:
    wav = processed("tone", SECONDS)
    assert 0.01 < wav[50 * 640 : 75 * 640].abs().max() < 0.03
    assert not wav[125 * 640 + 160 :].any()


def test_keep_mutes_only_frames_without_a_visible_mouth() -> None:
    wav = processed("keep", SECONDS)
    assert wav[: 125 * 640].eq(1).all()
    assert not wav[125 * 640 + 160 :].any()


def test_a_threshold_of_0_replaces_nothing() -> None:
    assert processed("mute", SECONDS, threshold=0.0)[: 125 * 640].eq(1).all()


def test_an_interpolated_mouth_is_not_muted_but_has_no_confidence() -> None:
    post_process = PostProcessor(CALIBRATION, 0.5)
    chunk = post_process(frames("x" * 15 + "i" * 10))
    assert chunk.wav.eq(1).all()
    assert chunk.face_mask.all()
    assert [math.isnan(score.logit) for score in chunk.scores] == [False] * 15 + [True] * 10
    assert post_process.confidence == pytest.approx(0.6 / (1 + math.exp(-5)))


def test_without_a_calibration_there_is_no_confidence_and_nothing_is_replaced() -> None:
    post_process = PostProcessor(None, 0.5)
    assert post_process(frames("x?x")).wav.eq(1).all()
    assert post_process.confidence is None
    assert post_process.tracker is None


def test_a_pause_fades_out_and_has_no_confidence() -> None:
    post_process = PostProcessor(CALIBRATION, 0.5)
    wav = post_process.pause(frames("x" * 5), 30)
    assert len(wav) == 35 * 640
    assert wav[5 * 640 - 1] == 0
    assert not wav[5 * 640 :].any()
    assert post_process.confidence == 0
    assert post_process(frames("x")).wav[0] < 0.01


def test_an_unknown_way_with_low_confidence_is_refused() -> None:
    with pytest.raises(ValueError, match="low_confidence must be one of keep, tone, mute, got 'mumble'"):
        SynthesisOptions(low_confidence="mumble")  # type: ignore[arg-type]


def test_a_summary_gives_each_second_the_mean_and_the_bits() -> None:
    post_process, summary = PostProcessor(CALIBRATION, 0.5), ScoreSummary(calibrated=True)
    for kinds in ("x" * 20, "x" * 5 + "?" * 25, "." * 5):
        summary.add(post_process(frames(kinds)))
    found = summary.finish()
    sure, low = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))
    assert found["confidence"] == pytest.approx((sure, low, 0.0))
    assert found["mean_confidence"] == pytest.approx((25 * sure + 25 * low) / 55)
    assert found["bits_per_code"] == 6.0


def test_a_summary_without_a_calibration_has_bits_alone() -> None:
    summary = ScoreSummary(calibrated=False)
    summary.add(PostProcessor(None, 0.5)(frames("xx")))
    assert summary.finish() == {"bits_per_code": 6.0}
    assert ScoreSummary(calibrated=False).finish() == {"bits_per_code": None}


def test_a_result_is_plain_rounded_json() -> None:
    report = FaceReport(frames=50, face_frames=49, no_face_segments=[(0.0, 0.04)])
    result = SynthesisResult(None, report, "default", "channel", 0.5, (0.12345, 0.5), 0.31111, 6.00001)
    assert json.loads(json.dumps(result.to_json())) == {
        "duration": 2.0, "frames": 50, "face_detection_rate": 0.98, "no_face_segments": [[0.0, 0.04]],
        "frames_damaged": 0, "frames_missing": 0,
        "model": "default", "vocoder": "channel", "rtf": 0.25, "confidence": [0.123, 0.5],
        "mean_confidence": 0.311, "bits_per_code": 6.0,
    }  # fmt: skip
    unknown = SynthesisResult(None, report, "default", "channel", 0.5).to_json()
    assert (unknown["confidence"], unknown["mean_confidence"]) == (None, None)
    assert "bits_per_code" not in unknown
