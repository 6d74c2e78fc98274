"""Live speech, frame by frame (lip2speech/streaming/)."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.confidence.calibration import Calibration
from lip2speech.confidence.features import FEATURES
from lip2speech.config import to_dict
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig, StreamingResult, StreamStats, make_renderer, stream_roi
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video.crop import MouthCrop
from lip2speech.windows import RenderedFrames
from tests.factories import MODEL, make_model, save_system, trained_code_prior
from tests.video.faces import FakeFaceModel, frames

CAUSAL: dict[str, Any] = {
    "frontend": MODEL["frontend"] | {"causal": True, "left_context": 20},
    "heads": MODEL["heads"] | {"causal": True},
}
VOICE = 0.1 * torch.arange(163.0)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Lip2Speech:
    """A system whose model is causal."""
    model = to_dict(make_model(CAUSAL).config)
    return Lip2Speech.from_pretrained(
        save_system(tmp_path_factory.mktemp("live") / "live", model=model), device="cpu"
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Lip2Speech:
    return Lip2Speech.from_pretrained(save_system(tmp_path_factory.mktemp("plain") / "plain"), device="cpu")


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 96, 96), dtype=np.uint8)


def render(model: Lip2Speech, roi: np.ndarray, vocoder: str = "mel", **config: int) -> RenderedFrames:
    return stream_roi(model, roi, SynthesisOptions(VOICE, vocoder), StreamConfig(**config))


def make_stream(model: Lip2Speech, seen: str, low_confidence: Any = "keep", **config: int) -> Stream:
    """A stream whose frames show a face where `seen` has an x."""
    people = [[(300.0, 200.0, 1.0)] if c == "x" else [] for c in seen]
    options = SynthesisOptions(low_confidence=low_confidence)
    return Stream(model, options, StreamConfig(**config), face_model=FakeFaceModel(people))


@pytest.mark.parametrize("vocoder", ["mel", "codes", "codes-independent"])
@pytest.mark.parametrize("chunk", [1, 3, 5])
@pytest.mark.parametrize("count", [1, 7, 10])
def test_a_causal_model_gives_live_what_it_gives_in_one_pass(
    live: Lip2Speech, vocoder: str, chunk: int, count: int
) -> None:
    roi = crops(count)
    with torch.no_grad():
        whole = live.model(live.transform(roi), VOICE[None], chunk=chunk)
    found = render(live, roi, vocoder, chunk=chunk)
    torch.testing.assert_close(found.wav, live.vocode(whole, vocoder), rtol=0, atol=1e-5)
    assert len(found.features.values) == count


def test_frames_beyond_the_chunk_change_nothing(live: Lip2Speech) -> None:
    roi, other = crops(9), crops(9, seed=1)
    other[:6] = roi[:6]
    a, b = (render(live, x, chunk=3).wav[: 6 * 640] for x in (roi, other))
    assert torch.equal(a, b)


def push_all(model: Lip2Speech, roi: np.ndarray, vocoder: str, **config: int) -> tuple[list[int], int, int]:
    """Samples after each crop, samples at the end, and the latency."""
    buffer, renderer = make_renderer(model, VOICE, vocoder, StreamConfig(**config))
    pushed = [buffer.push(MouthCrop(pixels, "detected")) for pixels in roi]
    counts = [0 if window is None else len(renderer(window).wav) for window in pushed]
    last = buffer.finish()
    rest = 0 if last is None else len(renderer(last).wav)
    return counts, rest + len(renderer.finish().wav), renderer.latency


def test_griffin_lim_gives_every_sample_live_with_its_latency(live: Lip2Speech) -> None:
    counts, rest, latency = push_all(live, crops(10), "griffin-lim", chunk=2)
    assert sum(counts) == 10 * 640 - (3 * 160 + 120)
    assert sum(counts) + rest == 10 * 640
    assert latency == 2 * 640 + 3 * 160 + 120


@pytest.mark.parametrize("count", [1, 4, 9, 30])
def test_sliding_windows_give_every_frame_once(plain: Lip2Speech, count: int) -> None:
    counts, rest, latency = push_all(plain, crops(count), "mel", window=12, hop=3, lookahead=4)
    assert set(counts) <= {0, 3 * 640}
    assert sum(counts) + rest == 640 * count
    assert latency == 7 * 640


def test_a_clip_shorter_than_a_window_sounds_as_in_one_pass(plain: Lip2Speech) -> None:
    roi = crops(8)
    found = render(plain, roi, window=20, hop=10, lookahead=10)
    torch.testing.assert_close(found.wav, plain.synthesize(roi, VOICE, "mel"))


def test_one_model_serves_many_streams(live: Lip2Speech) -> None:
    rois = [crops(8, seed) for seed in range(3)]
    alone = [render(live, roi, chunk=2).wav for roi in rois]
    streams = [make_renderer(live, VOICE, "mel", StreamConfig(chunk=2)) for _ in rois]
    mixed: list[list[Tensor]] = [[], [], []]
    for i in range(8):
        for pieces, (buffer, renderer), roi in zip(mixed, streams, rois, strict=True):
            if (window := buffer.push(MouthCrop(roi[i], "detected"))) is not None:
                pieces.append(renderer(window).wav)
    for pieces, (_, renderer), expected in zip(mixed, streams, alone, strict=True):
        assert torch.equal(torch.cat([*pieces, renderer.finish().wav]), expected)


@pytest.mark.parametrize("model", ["live", "plain"])
def test_every_output_frame_is_640_samples(model: str, request: pytest.FixtureRequest) -> None:
    made = make_stream(request.getfixturevalue(model), "x" * 20)
    pieces = []
    for i, frame in enumerate(frames(20)):
        made.push(frame, i / 25)
        pieces.append(made.pull())
    made.finish()
    pieces.append(made.pull())
    wav = np.concatenate(pieces)
    assert len(wav) == 20 * 640
    assert wav.dtype == np.float32
    assert np.abs(wav).max() <= 1
    assert not len(made.pull())
    assert (made.stats.frames, made.stats.output_frames, made.stats.no_face_frames) == (20, 20, 0)


def test_how_often_one_pulls_changes_nothing(live: Lip2Speech) -> None:
    sounds = []
    for every in (1, 3, 20):
        made, pieces = make_stream(live, "x" * 20), []
        for i, frame in enumerate(frames(20)):
            made.push(frame, i / 25)
            if i % every == 0:
                pieces.append(made.pull())
        made.finish()
        sounds.append(np.concatenate([*pieces, made.pull()]))
    assert all(np.array_equal(a, b) for a, b in pairwise(sounds))


def test_frames_may_be_slow_late_doubled_or_out_of_order(live: Lip2Speech) -> None:
    made = make_stream(live, "x" * 12)
    times = [0.0, 0.06, 0.06, 0.03, 0.12, 0.19, 0.24]  # 15 to 20 fps, one doubled, one too late
    for frame, time in zip(frames(12), times, strict=False):
        made.push(frame, time)
    assert made.stats.dropped_frames == 2
    assert made.stats.output_frames == 7  # 0 .. 0.24 s
    made.finish()
    assert len(made.pull()) == 7 * 640


def test_a_lost_face_is_silence_and_comes_back_without_a_click(live: Lip2Speech) -> None:
    made = make_stream(live, "x" * 10 + "." * 10 + "x" * 15, chunk=2)
    for i, frame in enumerate(frames(35)):
        made.push(frame, i / 25)
    made.finish()
    wav = made.pull()
    assert made.stats.no_face_frames >= 10
    quiet = wav[10 * 640 + 160 : 20 * 640]
    assert not quiet.any()
    assert np.abs(wav[: 10 * 640]).max() > 0
    assert np.abs(wav[25 * 640 :]).max() > 0


def test_a_stream_that_stops_for_seconds_pauses_and_goes_on(live: Lip2Speech) -> None:
    made = make_stream(live, "x" * 40)
    shown = frames(40)
    for i in range(10):
        made.push(shown[i], i / 25)
    for i in range(10, 20):
        made.push(shown[i], 3 + i / 25)
    made.finish()
    wav = made.pull()
    assert made.stats.output_frames == 95
    assert len(wav) == 95 * 640
    assert not wav[10 * 640 : 84 * 640].any()
    assert wav[: 9 * 640].any()
    assert wav[86 * 640 :].any()


def test_an_hour_of_pause_is_not_an_hour_of_samples(live: Lip2Speech) -> None:
    made = make_stream(live, "x" * 4)
    for frame, time in zip(frames(4), (0.0, 0.04, 3600.0, 3600.04), strict=True):
        made.push(frame, time)
    made.finish()
    assert len(made.pull()) == (4 + 1500) * 640


def test_what_is_not_a_frame_is_refused(live: Lip2Speech) -> None:
    made, frame = make_stream(live, "x"), frames(1)[0]
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        made.push(frame[..., 0], 0.0)
    with pytest.raises(ValueError, match="finite number of seconds"):
        made.push(frame, float("nan"))
    made.finish()
    made.finish()
    with pytest.raises(ValueError, match="is finished"):
        made.push(frame, 0.0)


@pytest.mark.parametrize(
    "numbers", [{"chunk": 0}, {"hop": 0}, {"lookahead": -1}, {"window": 10, "hop": 5, "lookahead": 6}]
)
def test_sizes_that_do_not_fit_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window at least hop"):
        StreamConfig(**numbers)


# Confidence


def run_stream(
    model: Lip2Speech, seen: str, low_confidence: Any = "keep", **config: int
) -> tuple[Stream, Tensor]:
    """A finished stream and all its samples."""
    made = make_stream(model, seen, low_confidence, **config)
    for i, frame in enumerate(frames(len(seen))):
        made.push(frame, i / 25)
    made.finish()
    return made, torch.from_numpy(made.pull())


def calibrated(model: Lip2Speech, bias: float) -> Lip2Speech:
    """The same model with one confidence for every frame."""
    return replace(model, config=replace(model.config, confidence=Calibration(bias)))


def test_a_stream_of_a_model_without_a_calibration_has_no_confidence(live: Lip2Speech) -> None:
    made, _ = run_stream(live, "x" * 8)
    assert made.stats.confidence is None
    assert made.mean_confidence is None
    assert not made.pull_confidence()
    with pytest.raises(ValueError, match="needs a model with a calibration"):
        make_stream(live, "x", "tone")


@pytest.mark.parametrize("name", ["live", "plain"])
def test_the_last_second_and_every_second_have_a_confidence(
    name: str, request: pytest.FixtureRequest
) -> None:
    made, _ = run_stream(calibrated(request.getfixturevalue(name), 1.0), "x" * 30)
    expected = 1 / (1 + math.exp(-1))
    assert made.stats.confidence == pytest.approx(expected)
    assert made.pull_confidence() == pytest.approx([expected, expected])
    assert made.mean_confidence == pytest.approx(expected)
    assert not made.pull_confidence()


@pytest.mark.parametrize("name", ["live", "plain"])
def test_crops_are_as_sharp_live_as_in_one_pass(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    roi = crops(30)[:, :24, :24].repeat(4, 1).repeat(4, 2)
    roi //= np.arange(1, 31, dtype=np.uint8)[:, None, None]
    found = render(model, roi, chunk=4, window=12, hop=4, lookahead=3).features.values
    whole = model.frame_features(model.predict(roi, VOICE), roi).values
    column = FEATURES.index("sharpness")
    assert torch.equal(found[:, column], whole[:, column])
    assert len(set(found[:, column].tolist())) > 20


@torch.no_grad()
def with_varied_codes(model: Lip2Speech, roi: np.ndarray) -> Lip2Speech:
    """The same model, whose codes differ from frame to frame: no code has a logit that is always high."""
    network = deepcopy(model.model)
    logits = network(model.transform(roi), VOICE[None]).require("code_logits")[0]
    for head, mean in zip(network.heads.codes.logits, logits.mean(-1), strict=True):
        head.bias -= mean
    return replace(model, model=network)


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_codes_cost_as_many_bits_live_as_in_one_pass(live: Lip2Speech, chunk: int) -> None:
    roi = crops(22)
    varied = with_varied_codes(live, roi)
    with torch.no_grad():
        whole = varied.model(varied.transform(roi), VOICE[None], chunk=chunk)
    with_prior = replace(varied, code_prior=trained_code_prior(whole.codes, VOICE[None]))
    expected, _ = with_prior.code_bits(whole)
    found = render(with_prior, roi, chunk=chunk).features.code_bits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert len(set(found.tolist())) > 2
    assert render(varied, roi, chunk=chunk).features.code_bits.isnan().all()


def test_a_second_without_a_face_has_no_confidence(live: Lip2Speech) -> None:
    made, _ = run_stream(calibrated(live, 50.0), "x" * 25 + "." * 25)
    first, second = made.pull_confidence()
    assert first == pytest.approx(1.0)
    assert second == pytest.approx(1 - made.stats.no_face_frames / 25)
    assert made.stats.confidence == second


def test_low_confidence_is_muted_or_replaced_by_a_tone(live: Lip2Speech) -> None:
    _, kept = run_stream(live, "x" * 12)
    _, muted = run_stream(calibrated(live, -1.0), "x" * 12, "mute")
    _, tone = run_stream(calibrated(live, -1.0), "x" * 12, "tone")
    _, confident = run_stream(calibrated(live, 1.0), "x" * 12, "mute")
    assert torch.equal(confident, kept)
    assert kept.any()
    assert not muted[160:].any()
    assert 0.01 < tone[160:].abs().max() < 0.03


def test_files_and_streams_mute_the_same_frames(live: Lip2Speech) -> None:
    """Both go through the one post-processor, with the model's own threshold."""
    model = calibrated(live, 50.0)
    _, wav = run_stream(model, "x" * 30 + "." * 30 + "x" * 5, "mute", chunk=5)
    features = render(model, crops(65), chunk=5).features
    mask = torch.tensor([True] * 30 + [False] * 30 + [True] * 5)
    frames_of_a_file = RenderedFrames(torch.ones(65 * 640), features, mask, mask)
    file = model.config.post_processor("mute")(frames_of_a_file).wav
    live_muted = [not wav[i * 640 + 160 : (i + 1) * 640].any() for i in range(65)]
    assert live_muted == [not file[i * 640 + 160 : (i + 1) * 640].any() for i in range(65)]
    assert 30 < sum(live_muted) < 65


def test_a_pause_counts_as_time_without_confidence(live: Lip2Speech) -> None:
    made = Stream(calibrated(live, 50.0), face_model=FakeFaceModel([[(300.0, 200.0, 1.0)]] * 4))
    for frame, time in zip(frames(4), (0.0, 0.04, 2.04, 2.08), strict=True):
        made.push(frame, time)
    made.finish()
    assert made.mean_confidence is not None
    assert 0 < made.mean_confidence < 0.1


def test_a_result_is_plain_rounded_json() -> None:
    stats = StreamStats(frames=30, output_frames=25, no_face_frames=1, confidence=0.9)
    result = StreamingResult(stats, 1.0, 0.23, 0.123456, 0.0123456, (0.5,), 0.5, 6.00001, 2, 3)
    assert result.to_json() == {
        "frames": 30, "dropped_frames": 0, "output_frames": 25, "no_face_frames": 1, "face_detected": False,
        "duration": 1.0, "algorithmic_latency_s": 0.23, "compute_s": 0.123, "max_frame_compute_s": 0.012,
        "frames_damaged": 2, "frames_missing": 3, "confidence": [0.5], "mean_confidence": 0.5,
        "bits_per_code": 6.0,
    }  # fmt: skip
