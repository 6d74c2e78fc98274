"""The walk from crops to sound, its windows, and what it refuses (lip2speech/pipeline.py)."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.crossfade import join_windows, mute
from lip2speech.audio.io import read_wav, write_wav
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import CheckpointError
from lip2speech.confidence.tracker import FEATURES, Calibration
from lip2speech.config import to_dict
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import ExternalEmbeddings, LTASSpeakerEncoder
from lip2speech.pipeline import (
    Lip2Speech,
    PipelineConfig,
    choose_device,
    report_progress,
)
from tests.factories import (
    CODEC,
    MODEL,
    buzz,
    make_codec,
    make_likelihood,
    make_model,
    save_codec,
    save_system,
    system,
)

ROUTES = {"codes", "codes-independent", "griffin-lim", "mel"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Lip2Speech:
    return Lip2Speech.from_pretrained(save_system(tmp_path_factory.mktemp("tiny") / "small"), device="cpu")


def crops(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 96, 96), dtype=np.uint8)


class Echo(Lip2Speech):
    """Speaks a known signal: crops hold their own numbers n, spoken as samples 640 n .. 640 n + 639."""

    signal = torch.randn(700 * 640, generator=torch.Generator().manual_seed(0))

    def speak(
        self, roi: Any, speaker: Tensor | None = None, route: str | None = None
    ) -> tuple[Tensor, Tensor, None]:
        first = int(roi[0, 0, 0]) * 256 + int(roi[0, 0, 1])
        assert len(roi) <= self.config.window_frames
        wav = self.signal[640 * first : 640 * (first + len(roi))]
        return wav, torch.zeros(len(roi), len(FEATURES) + 1), None

    def say(self, frames: int) -> Tensor:
        sounds = self.windows(numbered(frames), torch.zeros(163), "mel")
        return torch.cat([torch.zeros(0), *join_windows(sounds, 640 * self.config.overlap_frames)])


def numbered(frames: int) -> Iterator[np.ndarray]:
    for n in range(frames):
        yield np.array([[n // 256, n % 256]], dtype=np.uint8)


def echo(tiny: Lip2Speech, window: int = 150, overlap: int = 50) -> Echo:
    config = PipelineConfig(window_frames=window, overlap_frames=overlap)
    return Echo("echo", tiny.model, tiny.vocoders, tiny.transform, tiny.voices, config)


# Crops to sound


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_frame_is_spoken_as_640_samples(tiny: Lip2Speech, frames: int, route: str) -> None:
    wav = tiny(crops(frames), route=route)
    assert (wav.shape, wav.dtype) == ((640 * frames,), torch.float32)
    assert wav.abs().max() <= 1


def test_the_sound_is_the_callers_own(tiny: Lip2Speech) -> None:
    wav = tiny(crops(1))
    wav *= 0.5
    assert not wav.requires_grad


def test_crops_may_be_a_tensor(tiny: Lip2Speech) -> None:
    assert torch.equal(tiny(torch.from_numpy(crops(2))), tiny(crops(2)))


def test_a_prediction_can_be_looked_at_and_rendered_later(tiny: Lip2Speech) -> None:
    prediction = tiny.predict(crops(2))
    assert isinstance(prediction, Prediction)
    assert torch.equal(tiny.vocode(prediction), tiny(crops(2)))


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (np.zeros((0, 96, 96), np.uint8), "at least one frame"),
        (np.zeros((2, 3, 96, 96), np.uint8), r"one clip \(T, 96, 96\), got \(2, 3, 96, 96\)"),
        (np.zeros((2, 96, 96), np.float32), "roi must be uint8"),
    ],
)
def test_what_is_no_clip_is_refused(tiny: Lip2Speech, roi: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(roi)


# Long videos


@pytest.mark.parametrize("frames", [1, 149, 150, 151, 250, 251, 400, 699])
def test_windows_of_one_signal_join_to_that_signal(tiny: Lip2Speech, frames: int) -> None:
    assert torch.equal(echo(tiny).say(frames), Echo.signal[: 640 * frames])


@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (7, 0), (7, 1), (7, 6), (20, 15)])
def test_any_window_and_overlap_will_do(tiny: Lip2Speech, window: int, overlap: int) -> None:
    assert torch.equal(echo(tiny, window, overlap).say(33), Echo.signal[: 640 * 33])


def test_no_frames_give_no_sound(tiny: Lip2Speech) -> None:
    assert len(echo(tiny).say(0)) == 0


@pytest.mark.parametrize("frames", [1, 11, 12, 13, 40])
def test_a_model_speaks_long_videos_in_windows(tiny: Lip2Speech, frames: int) -> None:
    short = replace(tiny, config=PipelineConfig(window_frames=12, overlap_frames=4, default_voice="ann"))
    sounds = list(join_windows(short.windows(iter(crops(frames)), short.speaker(None), "mel"), 640 * 4))
    assert sum(map(len, sounds)) == 640 * frames
    if frames <= 12:
        assert torch.equal(torch.cat(sounds), tiny(crops(frames)))


def test_a_long_video_is_a_stream(tiny: Lip2Speech) -> None:
    """No crop is read before it is needed, and none is kept once it is spoken."""
    taken, alive, most = 0, [0], 0

    class Crop(np.ndarray):
        def __del__(self) -> None:
            alive[0] -= 1

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        for crop in numbered(65_000):
            taken += 1
            alive[0] += 1
            yield crop.view(Crop)

    for count, _ in enumerate(join_windows(windows_of(echo(tiny, 20, 5), endless()), 640 * 5), 1):
        most = max(most, alive[0])
        assert taken == 20 + 15 * (count - 1)
        if count == 30:
            break
    assert most <= 60


def windows_of(speech: Lip2Speech, roi: Iterable[np.ndarray]) -> Iterator[Tensor]:
    return speech.windows(roi, torch.zeros(163), "mel")


@pytest.mark.parametrize(("window", "overlap"), [(10, 10), (10, -1), (0, 0)])
def test_windows_that_cannot_move_on_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(
        ValueError, match=f"overlap must be 0 .. window - 1, got {overlap} and window {window}"
    ):
        PipelineConfig(window_frames=window, overlap_frames=overlap)


def test_progress_rises_to_the_share_that_was_read() -> None:
    told: list[float] = []
    passed = list(report_progress(numbered(60), SimpleNamespace(expected_frames=50), told.append))
    assert len(passed) == 60
    assert told == [0.02, 0.52, 1.0]
    assert len(list(report_progress(numbered(60), SimpleNamespace(expected_frames=None), told.append))) == 60
    assert len(told) == 3


# Gaps without a face


def test_a_gap_over_several_windows_is_silent_to_the_sample(tiny: Lip2Speech) -> None:
    speech = echo(tiny, 20, 5)
    gaps = [(0.4, 1.6)]
    windows = speech.windows(numbered(60), torch.zeros(163), "mel", gaps)
    joined = torch.cat(list(join_windows(windows, 640 * 5)))
    assert torch.equal(joined, mute(Echo.signal[: 60 * 640], 0, gaps))


# How sure it is


@pytest.fixture(scope="module")
def calibrated(tiny: Lip2Speech) -> Lip2Speech:
    config = PipelineConfig(default_voice="ann", confidence=Calibration(bias=8.0, unit_entropy=-9.0))
    return replace(tiny, config=config)


def test_a_model_that_was_never_calibrated_has_no_confidence(tiny: Lip2Speech, clip: Path) -> None:
    spoken = tiny.convert(clip)
    assert (spoken.confidence, spoken.mean_confidence, spoken.bits_per_code) == (None, None, None)
    with pytest.raises(ValueError, match="was never calibrated; run `lip2speech calibrate` on it"):
        tiny.convert(clip, unsure="silence")


def test_every_second_has_a_confidence_and_the_sound_stays_as_it_was(
    tiny: Lip2Speech, calibrated: Lip2Speech, clip: Path
) -> None:
    spoken, plain = calibrated.convert(clip), tiny.convert(clip)
    assert spoken.confidence is not None and spoken.mean_confidence is not None
    assert len(spoken.confidence) == -(-spoken.report.frames // 25)
    assert all(0 < c < 1 for c in spoken.confidence)
    assert min(spoken.confidence) <= spoken.mean_confidence <= max(spoken.confidence)
    assert torch.equal(spoken.wav, plain.wav)


def test_short_windows_say_how_sure_they_are_of_every_second(calibrated: Lip2Speech, clip: Path) -> None:
    config = replace(calibrated.config, window_frames=20, overlap_frames=6)
    short = replace(calibrated, config=config).convert(clip)
    whole = calibrated.convert(clip)
    assert short.confidence == pytest.approx(whole.confidence, abs=0.1)


def test_a_likelihood_that_was_not_calibrated_with_changes_no_confidence(
    calibrated: Lip2Speech, clip: Path
) -> None:
    judged, before = replace(calibrated, likelihood=make_likelihood()), calibrated.convert(clip).confidence
    assert before is not None and judged.convert(clip).confidence == before
    counted = replace(calibrated.config, confidence=Calibration(bias=8.0, unit_entropy=-9.0, code_nll=-2.0))
    doubt = replace(judged, config=counted).convert(clip).confidence
    assert doubt is not None and max(doubt) < min(before)


def test_below_the_threshold_the_model_is_silent(calibrated: Lip2Speech, clip: Path, tmp_path: Path) -> None:
    sure = calibrated.convert(clip).confidence
    assert sure is not None and len(set(sure)) > 1
    between = (min(sure) + max(sure)) / 2
    strict = replace(calibrated, config=replace(calibrated.config, confidence_threshold=between))
    wav = strict.convert(clip, unsure="silence").wav
    loud = [bool(second[160:].any()) for second in wav.split(16_000)]
    assert loud == [c >= between for c in sure]
    strict.convert_to(clip, tmp_path / "a.wav", unsure="silence")
    torch.testing.assert_close(read_wav(tmp_path / "a.wav"), wav, rtol=0, atol=1e-4)


def test_a_way_with_unsure_speech_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="unsure must be one of speak, tone, silence, got 'mumble'"):
        PipelineConfig().check_unsure("mumble")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unsure must be a confidence of 0 to 1, got 1.5"):
        PipelineConfig(confidence_threshold=1.5)


# Voices and routes


def test_a_voice_is_a_name_a_recording_or_a_vector(tiny: Lip2Speech, tmp_path: Path) -> None:
    assert torch.equal(tiny.speaker_embedding(None), tiny.voices["ann"])
    assert torch.equal(tiny.speaker_embedding("ann"), tiny.voices["ann"])
    write_wav(tmp_path / "ben.wav", buzz(25, 120.0))
    expected = LTASSpeakerEncoder().embed(read_wav(tmp_path / "ben.wav"))
    assert torch.equal(tiny.speaker_embedding(tmp_path / "ben.wav"), expected)
    assert torch.equal(tiny.speaker_embedding(str(tmp_path / "ben.wav")), expected)
    assert torch.equal(tiny.speaker_embedding(expected), expected)


def test_a_model_with_another_encoder_cannot_take_a_recording(tiny: Lip2Speech, tmp_path: Path) -> None:
    heads = replace(tiny.model.config.heads, speaker_dim=256)
    other = replace(tiny, model=LipModel(replace(tiny.model.config, heads=heads)), voices={})
    other = replace(other, speaker_model=ExternalEmbeddings(256))
    write_wav(tmp_path / "ann.wav", buzz(50, 120.0))
    with pytest.raises(ValueError, match="takes vectors of 256 numbers from another encoder"):
        other.speaker_embedding(tmp_path / "ann.wav")
    np.save(tmp_path / "ann.npy", np.zeros(256, np.float32))
    assert other.speaker_embedding(tmp_path / "ann.npy").shape == (256,)


def test_another_voice_sounds_different(tiny: Lip2Speech) -> None:
    assert not torch.equal(tiny(crops(2)), tiny(crops(2), torch.ones(163)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.speaker_embedding("eve"), "no voice is called 'eve' and no such recording exists; stored: ann."),
        (lambda s: s.speaker_embedding(torch.zeros(3)), r"a voice vector must be \(163,\), got \(3,\)."),
        (lambda s: s.resolve_vocoder("wavenet"), "no route is called 'wavenet'; this model has codes, .*mel"),
        (lambda s: s.vocode(Prediction(), "mel"), "this route needs mel, the model predicts"),
        (lambda s: choose_device("abacus"), "device 'abacus' cannot be used here .*; try cpu."),
        (lambda s: choose_device("cuda:77"), "device 'cuda:77' cannot be used here .*; try cpu."),
        (lambda s: choose_device("meta"), "device 'meta' cannot be used here .*; try cpu."),
    ],
)
def test_what_is_not_there_is_one_line(tiny: Lip2Speech, ask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ask(tiny)
    assert "\n" not in str(caught.value)


def test_a_recording_too_short_for_a_voice_is_refused(tiny: Lip2Speech, tmp_path: Path) -> None:
    write_wav(tmp_path / "short.wav", buzz(5, 120.0))
    with pytest.raises(ValueError, match="a voice needs 0.5 s of speech, got 0.20 s"):
        tiny.speaker_embedding(tmp_path / "short.wav")


# Loading


def test_a_loaded_system_says_what_it_has(tiny: Lip2Speech) -> None:
    assert set(tiny.routes) == ROUTES
    assert (tiny.name, tiny.sample_rate, str(tiny.device)) == ("small", 16_000, "cpu")
    assert not tiny.model.training


def test_a_system_without_codes_has_no_codes_route(tmp_path: Path) -> None:
    numbers = MODEL | {"heads": MODEL["heads"] | {"n_q": 0}}
    values, tensors = system()
    model = make_model(numbers)
    tensors = {k: v for k, v in tensors.items() if not k.startswith("model.")}
    tensors |= {f"model.{k}": v for k, v in model.state_dict().items()}
    checkpoint.save(tmp_path / "s", values | {"model": to_dict(model.config)}, tensors, "")
    speech = Lip2Speech.from_pretrained(tmp_path / "s", device="cpu")
    assert set(speech.vocoder_names) == {"mel", "griffin-lim"}
    with pytest.raises(ValueError, match="no route is called 'codes'; this model has griffin-lim, mel"):
        speech.resolve_vocoder("codes")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint folder"):
        Lip2Speech.from_pretrained(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codec holds 'codec', expected a whole lip2speech system"):
        Lip2Speech.from_pretrained(save_codec(tmp_path / "codec"))


def test_a_mel_that_is_not_the_codecs_is_refused_by_both_sides(tmp_path: Path) -> None:
    folder = save_system(tmp_path / "s", mel=to_dict(MelConfig(f_max=7600.0, log_floor=1e-4)))
    expected = "the model's mel has f_max 7600.0, log_floor 0.0001, the codec's f_max 8000.0, log_floor 1e-05"
    with pytest.raises(CheckpointError, match=expected):
        Lip2Speech.from_pretrained(folder, device="cpu")


def test_codes_that_are_not_the_codecs_are_refused_by_both_sides(tmp_path: Path) -> None:
    other = make_codec(CODEC | {"quantizer": {"n_q": 2, "codebook_size": 32}})
    folder = save_system(tmp_path / "s", codec={"name": "melcodec", "config": to_dict(other.config)})
    expected = "predict 2 books of 16 at 50 Hz, the codec has 2 books of 32 at 50 Hz"
    with pytest.raises(CheckpointError, match=expected):
        Lip2Speech.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"default_voice": "eve"}, "voice 'eve' is not in it .*voices ann"),
        ({"default_voice": "ann", "vocoder": "x"}, "route 'x'"),
    ],
)
def test_a_system_must_hold_its_own_route_and_voice(
    tmp_path: Path, own: dict[str, str], message: str
) -> None:
    folder = save_system(tmp_path / "s", pipeline=to_dict(PipelineConfig(**own)))
    with pytest.raises(CheckpointError, match=message):
        Lip2Speech.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"fronted": {}}}, "its config is wrong .*unknown key 'fronted'; did you mean frontend"),
        ({"codec": {"name": "dac", "config": {}}}, "no codec is called 'dac'"),
        ({"codec": {}}, "its config is wrong .*'name'"),
        ({"inference": {"overlap_frames": 900}}, "overlap must be 0 .. window - 1, got 900"),
    ],
)
def test_a_config_that_is_wrong_is_a_damaged_model(tmp_path: Path, change: dict, message: str) -> None:
    folder = save_system(tmp_path / "s", **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        Lip2Speech.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)
