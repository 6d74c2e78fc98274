"""Speech while the lips move (lip2speech/streaming.py)."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.confidence.tracker import FEATURES, Calibration, observe
from lip2speech.config import to_dict
from lip2speech.models.prediction import Prediction
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import ChunkedSynthesizer, SlidingWindowSynthesizer, Stream, StreamConfig
from tests.factories import MODEL, make_model, save_system, taught_likelihood
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
    return Lip2Speech.from_pretrained(save_system(tmp_path_factory.mktemp("live") / "live", model=model), device="cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Lip2Speech:
    return Lip2Speech.from_pretrained(save_system(tmp_path_factory.mktemp("plain") / "plain"), device="cpu")


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 96, 96), dtype=np.uint8)


def spoken(speaker: Any, roi: np.ndarray) -> Tensor:
    said = [*(speaker.push(crop) for crop in roi), speaker.finish()]
    assert sum(len(part.observed) for part in said) == len(roi)
    return torch.cat([part.wav for part in said])


def stream(speech: Lip2Speech, seen: str, **config: int) -> Stream:
    """A stream of frames that show a face where `seen` has an x."""
    people = [[(300.0, 200.0, 1.0)] if c == "x" else [] for c in seen]
    return Stream(speech, face_model=FakeFaceModel(people), config=StreamConfig(**config))


@pytest.mark.parametrize("route", ["mel", "codes", "codes-independent"])
@pytest.mark.parametrize("chunk", [1, 3, 5])
@pytest.mark.parametrize("count", [1, 7, 10])
def test_a_causal_model_says_live_what_it_says_of_the_whole(
    live: Lip2Speech, route: str, chunk: int, count: int
) -> None:
    roi = crops(count)
    with torch.no_grad():
        whole = live.model(live.transform(roi), VOICE[None], chunk=chunk)
    expected = live.vocode(whole, route)
    found = spoken(ChunkedSynthesizer(live, VOICE, route, chunk), roi)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_lies_beyond_the_look_ahead_changes_nothing(live: Lip2Speech) -> None:
    roi, other = crops(9), crops(9, seed=1)
    other[:6] = roi[:6]
    a, b = (spoken(ChunkedSynthesizer(live, VOICE, "mel", 3), x)[: 6 * 640] for x in (roi, other))
    assert torch.equal(a, b)


def test_griffin_lim_says_every_sample_live_but_late(live: Lip2Speech) -> None:
    speaker = ChunkedSynthesizer(live, VOICE, "griffin-lim", 2)
    before = sum(len(speaker.push(crop).wav) for crop in crops(10))
    assert before == 10 * 640 - (3 * 160 + 120)
    assert before + len(speaker.finish().wav) == 10 * 640
    assert speaker.late == 2 * 640 + 3 * 160 + 120


@pytest.mark.parametrize("count", [1, 4, 9, 30])
def test_windows_say_every_frame_once(plain: Lip2Speech, count: int) -> None:
    config = StreamConfig(window=12, hop=3, ahead=4)
    speaker = SlidingWindowSynthesizer(plain, VOICE, "mel", config)
    pieces = [len(speaker.push(crop).wav) for crop in crops(count)]
    assert set(pieces) <= {0, 3 * 640}
    assert sum(pieces) + len(speaker.finish().wav) == 640 * count
    assert speaker.late == 7 * 640


def test_a_clip_shorter_than_a_window_is_said_as_by_the_whole(plain: Lip2Speech) -> None:
    roi = crops(8)
    found = spoken(
        SlidingWindowSynthesizer(plain, VOICE, "mel", StreamConfig(window=20, hop=10, ahead=10)), roi
    )
    torch.testing.assert_close(found, plain(roi, VOICE, "mel"))


def test_one_model_serves_many_streams(live: Lip2Speech) -> None:
    rois = [crops(8, seed) for seed in range(3)]
    alone = [spoken(ChunkedSynthesizer(live, VOICE, "mel", 2), roi) for roi in rois]
    speakers = [ChunkedSynthesizer(live, VOICE, "mel", 2) for _ in rois]
    mixed: list[list[Tensor]] = [[], [], []]
    for i in range(8):
        for said, speaker, roi in zip(mixed, speakers, rois, strict=True):
            said.append(speaker.push(roi[i]).wav)
    for said, speaker, expected in zip(mixed, speakers, alone, strict=True):
        assert torch.equal(torch.cat([*said, speaker.finish().wav]), expected)


@pytest.mark.parametrize("model", ["live", "plain"])
def test_every_instant_is_640_samples(model: str, request: pytest.FixtureRequest) -> None:
    made = stream(request.getfixturevalue(model), "x" * 20)
    heard = []
    for i, frame in enumerate(frames(20)):
        made.push(frame, i / 25)
        heard.append(made.pull())
    made.finish()
    heard.append(made.pull())
    wav = np.concatenate(heard)
    assert len(wav) == 20 * 640 and wav.dtype == np.float32
    assert np.abs(wav).max() <= 1
    assert not len(made.pull())
    assert (made.status.frames, made.status.output_frames, made.status.no_face_frames) == (20, 20, 0)


def test_how_often_one_pulls_changes_nothing(live: Lip2Speech) -> None:
    sounds = []
    for every in (1, 3, 20):
        made, heard = stream(live, "x" * 20), []
        for i, frame in enumerate(frames(20)):
            made.push(frame, i / 25)
            if i % every == 0:
                heard.append(made.pull())
        made.finish()
        sounds.append(np.concatenate([*heard, made.pull()]))
    assert all(np.array_equal(a, b) for a, b in pairwise(sounds))


def test_frames_may_be_slow_late_doubled_or_out_of_order(live: Lip2Speech) -> None:
    made = stream(live, "x" * 12)
    times = [0.0, 0.06, 0.06, 0.03, 0.12, 0.19, 0.24]  # 15 to 20 fps, one doubled, one too late
    for frame, time in zip(frames(12), times, strict=False):
        made.push(frame, time)
    assert made.status.dropped_frames == 2
    assert made.status.output_frames == 7  # 0 .. 0.24 s
    made.finish()
    assert len(made.pull()) == 7 * 640


def test_a_lost_face_is_silence_and_comes_back_without_a_click(live: Lip2Speech) -> None:
    made = stream(live, "x" * 10 + "." * 10 + "x" * 15, chunk=2)
    for i, frame in enumerate(frames(35)):
        made.push(frame, i / 25)
    made.finish()
    wav = made.pull()
    assert made.status.no_face_frames >= 10
    quiet = wav[10 * 640 + 160 : 20 * 640]
    assert not quiet.any() and np.abs(wav[: 10 * 640]).max() > 0 and np.abs(wav[25 * 640 :]).max() > 0


def test_a_stream_that_stops_for_seconds_pauses_and_goes_on(live: Lip2Speech) -> None:
    made = stream(live, "x" * 40)
    shown = frames(40)
    for i in range(10):
        made.push(shown[i], i / 25)
    for i in range(10, 20):
        made.push(shown[i], 3 + i / 25)
    made.finish()
    wav = made.pull()
    assert made.status.output_frames == 95 and len(wav) == 95 * 640
    assert not wav[10 * 640 : 84 * 640].any() and wav[: 9 * 640].any() and wav[86 * 640 :].any()


def test_an_hour_of_pause_is_not_an_hour_of_samples(live: Lip2Speech) -> None:
    made = stream(live, "x" * 4)
    for frame, time in zip(frames(4), (0.0, 0.04, 3600.0, 3600.04), strict=True):
        made.push(frame, time)
    made.finish()
    assert len(made.pull()) == (4 + 1500) * 640


def test_what_is_no_frame_is_refused(live: Lip2Speech) -> None:
    made, frame = stream(live, "x"), frames(1)[0]
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        made.push(frame[..., 0], 0.0)
    with pytest.raises(ValueError, match="number of seconds"):
        made.push(frame, float("nan"))
    made.finish()
    made.finish()
    with pytest.raises(ValueError, match="is finished"):
        made.push(frame, 0.0)


@pytest.mark.parametrize(
    "numbers", [{"chunk": 0}, {"hop": 0}, {"ahead": -1}, {"window": 10, "hop": 5, "ahead": 6}]
)
def test_sizes_that_do_not_fit_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window at least hop"):
        StreamConfig(**numbers)


# How sure it is


def speak_frames(
    speech: Lip2Speech, seen: str, unsure: Any = "speak", **config: int
) -> tuple[Stream, Tensor]:
    """A finished stream of frames that show a face where `seen` has an x, and all it said."""
    people = [[(300.0, 200.0, 1.0)] if c == "x" else [] for c in seen]
    made = Stream(speech, face_model=FakeFaceModel(people), config=StreamConfig(**config), unsure=unsure)
    for i, frame in enumerate(frames(len(seen))):
        made.push(frame, i / 25)
    made.finish()
    return made, torch.from_numpy(made.pull())


def calibrated(speech: Lip2Speech, bias: float, unsure: float = 0.5) -> Lip2Speech:
    """The same system, which is always equally sure."""
    return replace(
        speech, config=replace(speech.config, confidence=Calibration(bias), confidence_threshold=unsure)
    )


def test_a_stream_of_a_model_that_was_never_calibrated_has_no_confidence(live: Lip2Speech) -> None:
    made, _ = speak_frames(live, "x" * 8)
    assert made.status.confidence is None and not made.pull_confidence()
    with pytest.raises(ValueError, match="never calibrated"):
        Stream(live, face_model=FakeFaceModel([]), unsure="tone")


@pytest.mark.parametrize("model", ["live", "plain"])
def test_the_last_second_and_every_second_have_a_confidence(
    model: str, request: pytest.FixtureRequest
) -> None:
    speech = calibrated(request.getfixturevalue(model), 1.0)
    made, _ = speak_frames(speech, "x" * 30)
    sure = 1 / (1 + math.exp(-1))
    assert made.status.confidence == pytest.approx(sure)
    assert made.pull_confidence() == pytest.approx([sure, sure])
    assert made.meter.sure == pytest.approx(sure)
    assert not made.pull_confidence()


@pytest.mark.parametrize("kind", [ChunkedSynthesizer, SlidingWindowSynthesizer])
def test_as_much_is_seen_of_a_mouth_live_as_of_the_whole(live: Lip2Speech, kind: Any) -> None:
    roi = crops(30)[:, :24, :24].repeat(4, 1).repeat(4, 2)
    roi //= np.arange(1, 31, dtype=np.uint8)[:, None, None]
    speaker = kind(
        live, VOICE, "mel", 4 if kind is ChunkedSynthesizer else StreamConfig(window=12, hop=4, ahead=3)
    )
    said = [*(speaker.push(crop) for crop in roi), speaker.finish()]
    column = FEATURES.index("sharpness")
    seen = torch.cat([part.observed for part in said])[:, column]
    assert torch.equal(seen, live.speak(roi, VOICE, "mel")[1][:, column])
    assert len(set(seen.tolist())) > 20


LIKELIHOOD = FEATURES.index("code_nll")


def weighed(speaker: Any, roi: np.ndarray) -> Tensor:
    """The likelihood of every frame as it is said live."""
    said = [*(speaker.push(crop) for crop in roi), speaker.finish()]
    return torch.cat([part.observed for part in said])[:, LIKELIHOOD]


@torch.no_grad()
def varied(speech: Lip2Speech, roi: np.ndarray) -> Lip2Speech:
    """The same system, whose codes differ from frame to frame: no code has a logit that is always high."""
    model = deepcopy(speech.model)
    logits = model(speech.transform(roi), VOICE[None]).require("code_logits")[0]
    for head, mean in zip(model.heads.codes.logits, logits.mean(-1), strict=True):
        head.bias -= mean
    return replace(speech, model=model)


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_codes_cost_live_what_they_cost_in_the_whole(live: Lip2Speech, chunk: int) -> None:
    roi = crops(22)
    plain = varied(live, roi)
    with torch.no_grad():
        whole = plain.model(plain.transform(roi), VOICE[None], chunk=chunk)
    judged = replace(plain, likelihood=taught_likelihood(whole.codes, VOICE[None]))
    expected = observe(whole, roi, judged.bits(whole)[0])[:, LIKELIHOOD]
    found = weighed(ChunkedSynthesizer(judged, VOICE, "mel", chunk), roi)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (
        len(set(expected.tolist())) > 2
        and not weighed(ChunkedSynthesizer(plain, VOICE, "mel", chunk), roi).any()
    )


class Known(Lip2Speech):
    """Predicts, of crops that hold their own numbers, codes that are known beforehand."""

    codes = torch.randint(16, (1, 2, 60), generator=torch.Generator().manual_seed(0))

    def predict(self, roi: Any, speaker: Tensor | None = None) -> Prediction:
        first = 2 * int(roi[0, 0, 0])
        codes = self.codes[..., first : first + 2 * len(roi)]
        return Prediction(codes=codes, code_logits=torch.zeros(1, 2, 16, 2 * len(roi)), speaker=VOICE[None])

    def render(self, prediction: Prediction, route: str | None = None) -> Tensor:
        return torch.zeros(prediction.require("codes").shape[-1] * 320)


def test_codes_that_are_said_of_windows_cost_what_they_cost_in_the_whole(plain: Lip2Speech) -> None:
    judged = Known(**vars(replace(plain, likelihood=taught_likelihood(Known.codes, VOICE[None]))))
    roi = np.arange(30, dtype=np.uint8)[:, None, None].repeat(96, 1).repeat(96, 2)
    expected = observe(judged.predict(roi), roi, judged.bits(judged.predict(roi))[0])[:, LIKELIHOOD]
    found = weighed(
        SlidingWindowSynthesizer(judged, VOICE, "mel", StreamConfig(window=9, hop=4, ahead=3)), roi
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert len(set(expected.tolist())) > 5


def test_a_second_without_a_face_has_no_confidence_at_all(live: Lip2Speech) -> None:
    made, _ = speak_frames(calibrated(live, 50.0), "x" * 25 + "." * 25)
    first, second = made.pull_confidence()
    assert first == pytest.approx(1.0) and second == pytest.approx(1 - made.status.no_face_frames / 25)
    assert made.status.confidence == second


def test_what_a_stream_is_not_sure_of_becomes_silence_or_a_tone(live: Lip2Speech) -> None:
    _, spoken = speak_frames(live, "x" * 12)
    _, silent = speak_frames(calibrated(live, -1.0), "x" * 12, "silence")
    _, tone = speak_frames(calibrated(live, -1.0), "x" * 12, "tone")
    _, sure = speak_frames(calibrated(live, 1.0), "x" * 12, "silence")
    assert torch.equal(sure, spoken) and spoken.any()
    assert not silent[160:].any() and 0.01 < tone[160:].abs().max() < 0.03


def test_a_pause_is_a_time_without_confidence(live: Lip2Speech) -> None:
    made = Stream(calibrated(live, 50.0), face_model=FakeFaceModel([[(300.0, 200.0, 1.0)]] * 4))
    for frame, time in zip(frames(4), (0.0, 0.04, 2.04, 2.08), strict=True):
        made.push(frame, time)
    made.finish()
    assert made.meter.sure is not None and 0 < made.meter.sure < 0.1
