"""From mouth crops and videos to speech, and what is refused (lip2speech/pipeline.py)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.audio.io import read_wav, write_wav
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import CheckpointError
from lip2speech.confidence.calibration import Calibration
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
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video.crop import MouthCrop
from tests.factories import (
    CODEC,
    MODEL,
    make_code_prior,
    make_codec,
    make_model,
    save_codec,
    save_system,
    synthetic_voice,
    system,
)

VOCODERS = {"codes", "codes-independent", "griffin-lim", "mel"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Lip2Speech:
    return Lip2Speech.from_pretrained(save_system(tmp_path_factory.mktemp("tiny") / "small"), device="cpu")


def crops(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 96, 96), dtype=np.uint8)


# Crops to speech


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("vocoder", sorted(VOCODERS))
def test_every_video_frame_gives_640_samples(tiny: Lip2Speech, frames: int, vocoder: str) -> None:
    wav = tiny.synthesize(crops(frames), vocoder=vocoder)
    assert (wav.shape, wav.dtype) == ((640 * frames,), torch.float32)
    assert wav.abs().max() <= 1


def test_changing_the_audio_changes_no_later_result(tiny: Lip2Speech) -> None:
    wav = tiny.synthesize(crops(1))
    before = wav.clone()
    wav *= 0.5
    assert not wav.requires_grad
    assert torch.equal(tiny.synthesize(crops(1)), before)


def test_crops_may_be_a_tensor(tiny: Lip2Speech) -> None:
    assert torch.equal(tiny.synthesize(torch.from_numpy(crops(2))), tiny.synthesize(crops(2)))


def test_a_prediction_can_be_vocoded_later(tiny: Lip2Speech) -> None:
    prediction = tiny.predict(crops(2))
    assert isinstance(prediction, Prediction)
    assert torch.equal(tiny.vocode(prediction), tiny.synthesize(crops(2)))


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (np.zeros((0, 96, 96), np.uint8), "at least one frame"),
        (np.zeros((2, 3, 96, 96), np.uint8), r"one clip \(T, 96, 96\), got \(2, 3, 96, 96\)"),
        (np.zeros((2, 96, 96), np.float32), "roi must be uint8"),
    ],
)
def test_crops_of_the_wrong_shape_are_refused(tiny: Lip2Speech, roi: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.synthesize(roi)


# Long videos


def test_a_long_video_is_synthesized_in_windows(tiny: Lip2Speech, clip: Path) -> None:
    config = replace(tiny.config, window_frames=12, overlap_frames=4)
    chunks = list(replace(tiny, config=config).stream(clip))
    whole = tiny.convert(clip)
    assert len(chunks) > 3
    assert sum(len(chunk.wav) for chunk in chunks) == len(whole.wav) == 640 * whole.report.frames
    assert sum(len(chunk.face_mask) for chunk in chunks) == whole.report.frames


def test_chunks_join_to_the_converted_audio(tiny: Lip2Speech, clip: Path) -> None:
    chunks = list(tiny.stream(clip))
    assert torch.equal(torch.cat([chunk.wav for chunk in chunks]), tiny.convert(clip).wav)
    assert chunks[-1].report is not None
    assert chunks[-1].report.frames == sum(len(chunk.scores) for chunk in chunks)


@pytest.mark.parametrize(("window", "overlap"), [(10, 10), (10, -1), (0, 0)])
def test_windows_that_cannot_advance_are_refused(window: int, overlap: int) -> None:
    expected = f"overlap_frames must be 0 .. window_frames - 1, got {overlap} and window_frames {window}"
    with pytest.raises(ValueError, match=expected):
        PipelineConfig(window_frames=window, overlap_frames=overlap)


def test_progress_rises_to_the_share_of_the_file_that_was_read() -> None:
    shares: list[float] = []
    found = [MouthCrop(np.zeros((1, 1), np.uint8), "detected")] * 60
    assert len(list(report_progress(found, 50, shares.append))) == 60
    assert shares == [0.02, 0.52, 1.0]
    assert len(list(report_progress(found, None, shares.append))) == 60
    assert len(shares) == 3


# Confidence


@pytest.fixture(scope="module")
def calibrated(tiny: Lip2Speech) -> Lip2Speech:
    config = PipelineConfig(default_voice="ann", confidence=Calibration(bias=8.0, unit_entropy=-9.0))
    return replace(tiny, config=config)


def test_a_model_without_a_calibration_has_no_confidence(tiny: Lip2Speech, clip: Path) -> None:
    result = tiny.convert(clip)
    assert (result.confidence, result.mean_confidence, result.bits_per_code) == (None, None, None)
    with pytest.raises(ValueError, match="'mute' needs a model with a calibration"):
        tiny.convert(clip, SynthesisOptions(low_confidence="mute"))


def test_every_second_has_a_confidence_and_the_audio_stays_the_same(
    tiny: Lip2Speech, calibrated: Lip2Speech, clip: Path
) -> None:
    result, plain = calibrated.convert(clip), tiny.convert(clip)
    assert result.confidence is not None
    assert result.mean_confidence is not None
    assert len(result.confidence) == -(-result.report.frames // 25)
    assert all(0 < c < 1 for c in result.confidence)
    assert min(result.confidence) <= result.mean_confidence <= max(result.confidence)
    assert torch.equal(result.wav, plain.wav)


def test_short_windows_give_about_the_same_confidence(calibrated: Lip2Speech, clip: Path) -> None:
    config = replace(calibrated.config, window_frames=20, overlap_frames=6)
    short = replace(calibrated, config=config).convert(clip)
    assert short.confidence == pytest.approx(calibrated.convert(clip).confidence, abs=0.1)


def test_a_code_prior_counts_only_if_the_model_was_calibrated_with_it(
    calibrated: Lip2Speech, clip: Path
) -> None:
    with_prior = replace(calibrated, code_prior=make_code_prior())
    before = calibrated.convert(clip).confidence
    assert before is not None
    assert with_prior.convert(clip).confidence == before
    weights = Calibration(bias=8.0, unit_entropy=-9.0, code_nll=-2.0)
    counted = replace(with_prior, config=replace(calibrated.config, confidence=weights))
    after = counted.convert(clip).confidence
    assert after is not None
    assert max(after) < min(before)


def test_seconds_below_the_threshold_are_muted_in_memory_and_in_a_file(
    calibrated: Lip2Speech, clip: Path, tmp_path: Path
) -> None:
    mute = SynthesisOptions(low_confidence="mute")
    for threshold, loud in ((0.0, True), (1.0, False)):
        config = replace(calibrated.config, confidence_threshold=threshold)
        strict = replace(calibrated, config=config)
        wav = strict.convert(clip, mute).wav
        assert bool(wav[160:].any()) == loud
        strict.convert_to_file(clip, tmp_path / "a.wav", mute)
        torch.testing.assert_close(read_wav(tmp_path / "a.wav"), wav, rtol=0, atol=1e-4)


def test_a_threshold_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence_threshold must be 0 to 1, got 1.5"):
        PipelineConfig(confidence_threshold=1.5)


# Voices and vocoders


def test_a_voice_is_a_name_a_recording_or_an_embedding(tiny: Lip2Speech, tmp_path: Path) -> None:
    assert torch.equal(tiny.speaker_embedding(None), tiny.voices["ann"])
    assert torch.equal(tiny.speaker_embedding("ann"), tiny.voices["ann"])
    write_wav(tmp_path / "ben.wav", synthetic_voice(25, 120.0))
    expected = LTASSpeakerEncoder().embed(read_wav(tmp_path / "ben.wav"))
    assert torch.equal(tiny.speaker_embedding(tmp_path / "ben.wav"), expected)
    assert torch.equal(tiny.speaker_embedding(str(tmp_path / "ben.wav")), expected)
    assert torch.equal(tiny.speaker_embedding(expected), expected)


def test_a_model_with_another_encoder_cannot_take_a_recording(tiny: Lip2Speech, tmp_path: Path) -> None:
    heads = replace(tiny.model.config.heads, speaker_dim=256)
    other = replace(tiny, model=LipModel(replace(tiny.model.config, heads=heads)), voices={})
    other = replace(other, speaker_encoder=ExternalEmbeddings(256))
    write_wav(tmp_path / "ann.wav", synthetic_voice(50, 120.0))
    with pytest.raises(ValueError, match="embeddings of 256 dimensions from an external encoder"):
        other.speaker_embedding(tmp_path / "ann.wav")
    np.save(tmp_path / "ann.npy", np.zeros(256, np.float32))
    assert other.speaker_embedding(tmp_path / "ann.npy").shape == (256,)


def test_another_voice_sounds_different(tiny: Lip2Speech) -> None:
    assert not torch.equal(tiny.synthesize(crops(2)), tiny.synthesize(crops(2), torch.ones(163)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda s: s.speaker_embedding("eve"),
            "no voice is called 'eve' and no such recording exists; stored: ann.",
        ),
        (lambda s: s.speaker_embedding(torch.zeros(3)), r"embedding must be \(163,\), got \(3,\)."),
        (
            lambda s: s.resolve_vocoder("wavenet"),
            "no vocoder is called 'wavenet'; this model has codes, .*mel",
        ),
        (lambda s: s.vocode(Prediction(), "mel"), "this vocoder needs mel, the model predicts"),
        (lambda s: choose_device("abacus"), "device 'abacus' cannot be used here .*; try cpu."),
        (lambda s: choose_device("cuda:77"), "device 'cuda:77' cannot be used here .*; try cpu."),
        (lambda s: choose_device("meta"), "device 'meta' cannot be used here .*; try cpu."),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(tiny: Lip2Speech, ask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ask(tiny)
    assert "\n" not in str(caught.value)


def test_a_recording_too_short_for_a_voice_is_refused(tiny: Lip2Speech, tmp_path: Path) -> None:
    write_wav(tmp_path / "short.wav", synthetic_voice(5, 120.0))
    with pytest.raises(ValueError, match="a voice needs 0.5 s of speech, got 0.20 s"):
        tiny.speaker_embedding(tmp_path / "short.wav")


# Loading


def test_a_loaded_model_lists_its_parts(tiny: Lip2Speech) -> None:
    assert set(tiny.vocoder_names) == VOCODERS
    assert (tiny.name, tiny.sample_rate, str(tiny.device)) == ("small", 16_000, "cpu")
    assert not tiny.model.training


def test_a_model_without_codes_has_no_codec_vocoder(tmp_path: Path) -> None:
    numbers = MODEL | {"heads": MODEL["heads"] | {"n_q": 0}}
    values, tensors = system()
    model = make_model(numbers)
    tensors = {k: v for k, v in tensors.items() if not k.startswith("model.")}
    tensors |= {f"model.{k}": v for k, v in model.state_dict().items()}
    checkpoint.save(tmp_path / "s", values | {"model": to_dict(model.config)}, tensors, "")
    speech = Lip2Speech.from_pretrained(tmp_path / "s", device="cpu")
    assert set(speech.vocoder_names) == {"mel", "griffin-lim"}
    with pytest.raises(ValueError, match="no vocoder is called 'codes'; this model has griffin-lim, mel"):
        speech.resolve_vocoder("codes")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint folder"):
        Lip2Speech.from_pretrained(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codec holds 'codec', expected 'lip2speech'"):
        Lip2Speech.from_pretrained(save_codec(tmp_path / "codec"))


def test_a_mel_that_is_not_the_codecs_is_refused_with_both_sides_named(tmp_path: Path) -> None:
    folder = save_system(tmp_path / "s", mel=to_dict(MelConfig(f_max=7600.0, log_floor=1e-4)))
    expected = "the model's mel has f_max 7600.0, log_floor 0.0001, the codec's f_max 8000.0, log_floor 1e-05"
    with pytest.raises(CheckpointError, match=expected):
        Lip2Speech.from_pretrained(folder, device="cpu")


def test_codes_that_are_not_the_codecs_are_refused_with_both_sides_named(tmp_path: Path) -> None:
    other = make_codec(CODEC | {"quantizer": {"n_q": 2, "codebook_size": 32}})
    folder = save_system(tmp_path / "s", codec={"name": "melcodec", "config": to_dict(other.config)})
    expected = "predict 2 codebooks of 16 at 50 Hz, the codec has 2 codebooks of 32 at 50 Hz"
    with pytest.raises(CheckpointError, match=expected):
        Lip2Speech.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"default_voice": "eve"}, "voice 'eve' is not in it .*voices ann"),
        ({"default_voice": "ann", "vocoder": "x"}, "vocoder 'x'"),
    ],
)
def test_a_model_must_hold_its_default_vocoder_and_voice(
    tmp_path: Path, own: dict[str, str], message: str
) -> None:
    folder = save_system(tmp_path / "s", inference=to_dict(PipelineConfig(**own)))
    with pytest.raises(CheckpointError, match=message):
        Lip2Speech.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"fronted": {}}}, "its config is wrong .*unknown key 'fronted'; did you mean frontend"),
        ({"codec": {"name": "dac", "config": {}}}, "no codec is called 'dac'"),
        ({"codec": {}}, "its config is wrong .*'name'"),
        ({"inference": {"overlap_frames": 900}}, "overlap_frames must be 0 .. window_frames - 1, got 900"),
    ],
)
def test_a_config_that_is_wrong_is_a_damaged_model(tmp_path: Path, change: dict, message: str) -> None:
    folder = save_system(tmp_path / "s", **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        Lip2Speech.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)
