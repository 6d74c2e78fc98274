"""How sure a model is of what it says (lip2speech/confidence/tracker.py)."""

import math

import numpy as np
import pytest
import torch

from lip2speech.confidence.tracker import (
    FEATURES,
    LOUD,
    NO_FACE,
    QUIET,
    Calibration,
    ConfidenceTracker,
    FrameConfidence,
    WindowedConfidenceTracker,
    by_seconds,
    entropy,
    observe,
    replace_unsure,
    score,
)
from lip2speech.config import from_dict
from lip2speech.models.prediction import Prediction

WIDTH = len(FEATURES) + 1
DOUBT = Calibration(bias=3.0, unit_entropy=-4.0, code_entropy=-4.0, head_agreement=1.0)


def prediction(frames: int, sharpness: float, *, codes: bool = True, rate: int = 2) -> Prediction:
    """Logits that are 0 but for one answer in each step; at 0 all answers are alike."""
    units = torch.zeros(1, 8, 2 * frames)
    units[:, 3] = sharpness
    if not codes:
        return Prediction(unit_logits=units)
    books = torch.zeros(1, 2, 16, rate * frames)
    books[:, :, 5] = sharpness
    chosen = torch.full((1, 2, rate * frames), 5)
    return Prediction(unit_logits=units, code_logits=books, independent_code_logits=books, codes=chosen)


def blank(frames: int) -> np.ndarray:
    """Crops that show nothing."""
    return np.full((frames, 96, 96), 107, np.uint8)


def stripes(frames: int, contrast: int = 40) -> np.ndarray:
    """Crops with lines, two pixels wide."""
    return np.tile(np.array([100, 100, 100 + contrast, 100 + contrast], np.uint8), (frames, 96, 24))


def confidence(sharpness: float) -> float:
    return score(DOUBT.frames(observe(prediction(25, sharpness), blank(25))))


def spoken(*logits: float) -> list[FrameConfidence]:
    """Frames of speech."""
    return [FrameConfidence(logit, 1.0) for logit in logits]


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("rate", [2, 3])
def test_every_frame_has_its_numbers(frames: int, rate: int) -> None:
    observed = observe(prediction(frames, 1.0, rate=rate), stripes(frames))
    assert (observed.shape, observed.dtype) == ((frames, WIDTH), torch.float32)
    assert observed.min() >= 0 and observed.max() <= 1
    assert len(DOUBT.frames(observed)) == frames


def test_one_answer_is_surest_and_all_alike_is_least_sure() -> None:
    rising = [confidence(sharpness) for sharpness in (0.0, 1.0, 3.0, 9.0, 1000.0)]
    assert rising == sorted(rising) and len(set(rising)) == len(rising)
    assert rising[0] == pytest.approx(1 / (1 + math.exp(5)), rel=1e-4)
    assert rising[-1] == pytest.approx(1 / (1 + math.exp(-4)), rel=1e-4)


def test_the_entropy_is_a_share_of_the_largest() -> None:
    assert entropy(torch.zeros(7, 4), 0).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert entropy(torch.tensor([[1000.0], [0.0]]), 0).tolist() == [0.0]
    two_of_four = torch.tensor([[0.0], [0.0], [-1000.0], [-1000.0]])
    assert entropy(two_of_four, 0).item() == pytest.approx(0.5)


def test_the_entropy_of_a_smaller_book_is_a_share_of_its_own() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf], [0.0, 1.0, 2.0, 3.0]])
    small, whole = entropy(logits, 1).tolist()
    assert small == pytest.approx(1.0)
    assert whole == pytest.approx(entropy(logits[1], 0).item())


def test_heads_that_choose_other_codes_do_not_agree() -> None:
    whole = prediction(4, 5.0)
    assert whole.codes is not None
    other = whole.codes.clone()
    other[:, 0] = 6
    half = Prediction(independent_code_logits=whole.independent_code_logits, codes=other)
    assert observe(half, blank(4))[:, FEATURES.index("head_agreement")].tolist() == [0.5] * 4


def test_what_a_model_does_not_predict_is_0() -> None:
    observed = observe(prediction(3, 0.0, codes=False), blank(3))
    assert observed.tolist() == [[pytest.approx(1.0), 0.0, 0.0, 0.0, 0.0, 1.0]] * 3
    assert not observe(Prediction(mel=torch.zeros(1, 80, 12)), blank(3))[:, :-1].any()


def test_the_less_can_be_seen_the_less_sure_it_is() -> None:
    calibration, column = Calibration(bias=-1.0, sharpness=4.0), FEATURES.index("sharpness")
    rois = [blank(25), *(stripes(25, contrast) for contrast in (2, 10, 40))]
    observed = [observe(prediction(25, 1.0), roi) for roi in rois]
    rising = [score(calibration.frames(numbers)) for numbers in observed]
    assert rising == sorted(rising) and rising[-1] > rising[0] + 0.3
    assert not observed[0][:, column].any()
    assert torch.equal(observe(prediction(25, 1.0), torch.from_numpy(rois[-1])), observed[-1])


def test_a_calibration_from_before_crops_were_looked_at_gives_the_numbers_it_gave() -> None:
    old = from_dict(
        Calibration,
        {"bias": 35.5863, "unit_entropy": -4.732, "code_entropy": -34.0256, "head_agreement": 1.3996},
    )
    observed = torch.rand(50, WIDTH, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([-4.732, -34.0256, 1.3996])
    assert [frame.logit for frame in old.frames(observed)] == (observed[:, :3] @ weights + 35.5863).tolist()


def test_the_likelihood_is_half_where_codes_cost_what_they_cost_at_random() -> None:
    column = FEATURES.index("code_nll")
    observed = observe(prediction(4, 1.0), blank(4), torch.tensor([0.0, 4.0, 12.0, 1e9]))  # 16 codes: 4 bits
    assert observed[:, column].tolist() == [0.0, 0.5, 0.75, 1.0]
    assert not observe(prediction(4, 1.0), blank(4))[:, column].any()
    doubt = Calibration(bias=1.0, code_nll=-2.0)
    assert [frame.logit for frame in doubt.frames(observed)] == [1.0, 0.0, -0.5, -1.0]


def test_a_calibration_from_before_codes_were_weighed_gives_the_numbers_it_gave() -> None:
    numbers = {
        "bias": 26.8613,
        "unit_entropy": -5.2226,
        "code_entropy": -25.4191,
        "head_agreement": 0.3,
        "sharpness": 1.7005,
    }
    observed = torch.rand(50, WIDTH, generator=torch.Generator().manual_seed(0))
    before = observed.clone()
    before[:, FEATURES.index("code_nll")] = 0
    old = from_dict(Calibration, numbers)
    assert old.code_nll == 0 and old.frames(observed) == old.frames(before)
    weights = torch.tensor([-5.2226, -25.4191, 0.3, 1.7005])
    expected = (before[:, :4] @ weights + 26.8613).tolist()
    assert [frame.logit for frame in old.frames(before)] == pytest.approx(expected, abs=1e-5)


def test_a_pause_counts_for_next_to_nothing() -> None:
    mel = torch.full((1, 80, 8), LOUD - 3)
    mel[..., 4:] = LOUD + 3
    assert observe(Prediction(mel=mel), blank(2))[:, -1].tolist() == pytest.approx([0, 1], abs=0.01)
    pause = FrameConfidence(9.0, 0.0)
    assert score([*spoken(*[-1.0] * 10), *[pause] * 15]) == pytest.approx(1 / (1 + math.exp(1)), abs=0.04)
    assert score([pause] * 25) > 0.99
    meter = ConfidenceTracker()
    for frame in [*spoken(*[0.0] * 25), *[pause] * 25]:
        meter.add(frame)
    assert meter.sure == pytest.approx(0.5, abs=0.01)


def test_frames_without_a_face_count_as_0() -> None:
    assert score(spoken(2.0, 2.0)) == pytest.approx(1 / (1 + math.exp(-2)))
    assert score([*spoken(2.0, 2.0), NO_FACE, NO_FACE]) == pytest.approx(0.5 / (1 + math.exp(-2)))
    assert score([NO_FACE] * 3) == score([]) == 0
    assert 0 <= score(spoken(-1e9)) < 1e-20 and score(spoken(1e9)) == 1


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_calibration_of_no_numbers_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="finite numbers.*calibrate the model again"):
        Calibration(bias=0.0, unit_entropy=number)


# Second by second


def test_a_meter_tells_the_last_second_each_second_and_all() -> None:
    meter = ConfidenceTracker()
    assert meter.sure is None
    frames = [*spoken(*[0.0] * 25, *[50.0] * 25), *[NO_FACE] * 5]
    told = [meter.add(frame) for frame in frames]
    assert told[0] == told[24] == 0.5
    assert told[36] == pytest.approx(1.0) and told[49] == pytest.approx(1.0)
    meter.finish()
    meter.finish()
    assert list(meter.seconds) == pytest.approx([0.5, 1.0, 0.0])
    assert meter.sure == pytest.approx((0.5 * 25 + 25) / 55)


def test_a_meter_may_forget_seconds_but_not_the_mean() -> None:
    meter = ConfidenceTracker(keep=2)
    for frame in spoken(*[-50.0] * 50, *[50.0] * 50):
        meter.add(frame)
    assert list(meter.seconds) == pytest.approx([1.0, 1.0]) and meter.sure == pytest.approx(0.5)


def windows(frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """(start, length) as `Lip2Speech.windows` cuts them."""
    cuts, start = [], 0
    while True:
        length = min(window, frames - start)
        cuts.append((start, length))
        if start + length >= frames:
            return cuts
        start += window - overlap


def told(observed: torch.Tensor, window: int, overlap: int, **options: object) -> WindowedConfidenceTracker:
    """An account of frames (T, F) that came in windows, all said."""
    account = WindowedConfidenceTracker(DOUBT, **options)  # type: ignore[arg-type]

    def pieces():  # type: ignore[no-untyped-def]
        said = 0
        for start, length in windows(len(observed), window, overlap):
            account.add(start, observed[start : start + length])
            end = len(observed) if start + length == len(observed) else start + length - overlap
            yield torch.ones(640 * (end - said))
            said = end

    assert sum(map(len, replace_unsure(pieces(), account, 0.5, "speak"))) == 640 * len(observed)
    return account


@pytest.mark.parametrize("frames", [1, 24, 25, 26, 60, 111])
@pytest.mark.parametrize(("window", "overlap"), [(20, 0), (20, 5), (7, 6), (150, 50), (1, 0)])
def test_windows_give_the_numbers_of_one_pass(frames: int, window: int, overlap: int) -> None:
    observed = torch.rand(frames, WIDTH, generator=torch.Generator().manual_seed(frames))
    expected = [score(DOUBT.frames(part)) for part in observed.split(25)]
    account = told(observed, window, overlap)
    assert account.confidence == pytest.approx(expected, abs=1e-6)
    said = [float((part[:, -1] + QUIET).sum()) for part in observed.split(25)]
    mean = sum(c * s for c, s in zip(expected, said, strict=True)) / sum(said)
    assert account.sure == pytest.approx(mean, abs=1e-6)


def test_where_windows_differ_each_has_half_of_what_they_share() -> None:
    account = WindowedConfidenceTracker(Calibration(bias=0.0, unit_entropy=1.0))
    account.add(0, torch.zeros(10, WIDTH))
    account.add(4, torch.ones(10, WIDTH))
    account.say(torch.zeros(14 * 640))
    logits = [frame.logit for frame in account.meter._last]
    assert logits == [0.0] * 7 + [1.0] * 7


def test_gaps_that_grow_while_the_video_is_read_count_as_0() -> None:
    gaps: list[tuple[float, float]] = [(0.0, 0.2)]
    account = WindowedConfidenceTracker(Calibration(bias=100.0), [gaps, [(1.8, 2.0)]])
    account.add(0, torch.zeros(25, WIDTH))
    gaps[0] = (0.0, 1.2)
    account.add(25, torch.zeros(25, WIDTH))
    account.say(torch.zeros(16_000))
    account.say(torch.zeros(16_000))
    assert account.confidence == pytest.approx([20 / 25, 15 / 25])


def test_an_account_keeps_no_more_than_a_window() -> None:
    account = WindowedConfidenceTracker(DOUBT)
    for start in range(0, 3000, 15):
        account.add(start, torch.zeros(20, WIDTH))
        account.say(torch.zeros(640 * 15))
        assert len(account._frames) == 5


# What becomes of unsure seconds


def unsure_second(unsure: str, threshold: float = 0.5) -> torch.Tensor:
    """Three seconds of ones, of which the model is sure, not sure, and sure; then one without a face."""
    account = WindowedConfidenceTracker(Calibration(bias=5.0, unit_entropy=-10.0), [[(3.0, 4.0)]])
    observed = torch.zeros(100, WIDTH)
    observed[25:50] = 1
    account.add(0, observed)
    return torch.cat(list(replace_unsure([torch.ones(64_000)], account, threshold, unsure)))  # type: ignore[arg-type]


def test_below_the_threshold_there_is_silence() -> None:
    heard = unsure_second("silence")
    assert heard[:16_000].eq(1).all() and not heard[16_160:32_000].any() and heard[32_160:48_000].eq(1).all()
    assert not heard[48_160:].any()
    assert heard.diff().abs().max() < 0.01


def test_below_the_threshold_there_is_a_soft_tone_but_not_where_nobody_was_seen() -> None:
    heard = unsure_second("tone")
    assert 0.01 < heard[16_160:32_000].abs().max() < 0.03
    assert heard[:16_000].eq(1).all() and not heard[48_160:].any()


def test_a_threshold_of_0_replaces_nothing_and_speak_never_does() -> None:
    assert unsure_second("silence", 0.0)[:48_000].eq(1).all()
    assert unsure_second("speak").eq(1).all()


@pytest.mark.parametrize("sizes", [[], [640], [16_000, 16_000], [640, 15_999, 40_000]])
def test_pieces_become_seconds(sizes: list[int]) -> None:
    sound = torch.arange(float(sum(sizes)))
    seconds = list(by_seconds(sound.split(sizes)))
    assert torch.equal(torch.cat([torch.zeros(0), *seconds]), sound)
    assert all(len(second) == 16_000 for second in seconds[:-1])
