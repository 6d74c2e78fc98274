"""One real clip through the door, and the sound's length."""

import wave
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lip2speech.data.corpus import Utterance
from preprocess.clip import check_sound, fit_wav, prepare_clip


def write_wav(path: Path, seconds: float, level: float = 0.25) -> np.ndarray:
    """(T_a,) int16 noise, also written to `path`."""
    wav = (np.random.default_rng(0).uniform(-level, level, int(16000 * seconds)) * 32768).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(wav.tobytes())
    return wav


@pytest.mark.parametrize("n_samples", [0, 1, 639, 640, 641, 2000])
def test_the_sound_is_cut_or_padded_to_640_samples_a_frame(n_samples: int) -> None:
    fitted = fit_wav(np.full(n_samples, 0.5, np.float32), 2)
    assert fitted.shape == (1280,) and fitted.dtype == np.int16
    assert (fitted[: min(n_samples, 1280)] == 16384).all() and not fitted[n_samples:].any()


def test_loud_samples_are_clipped_not_wrapped() -> None:
    assert fit_wav(np.array([1.5, -1.5, 1.0, -1.0], np.float32), 1)[:4].tolist() == [
        32767,
        -32768,
        32767,
        -32768,
    ]


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.zeros(16000), "silent"),
        (np.full(16000, np.nan), "not numbers"),
        (np.ones(8000), "lasts 0.50 s and the picture 1.00 s"),
        (np.ones(24000), "lasts 1.50 s and the picture 1.00 s"),
    ],
)
def test_a_sound_that_cannot_be_the_target_is_refused(wav: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sound(wav, 25)


def test_a_clip_becomes_crops_and_equally_long_sound(clip: Path, tmp_path: Path) -> None:
    import av

    with av.open(str(clip)) as container:
        seconds = container.streams.video[0].frames / 25
    wav = write_wav(tmp_path / "a.wav", seconds - 0.03)
    out = tmp_path / "a.safetensors"
    row = prepare_clip(Utterance("a", clip, tmp_path / "a.wav", "bin blue", "drawn", "test"), out)
    tensors = load_file(out)
    assert (row.status, row.split, row.text, row.n_frames) == (
        "done",
        "test",
        "bin blue",
        round(25 * seconds),
    )
    assert tensors["roi"].shape == (row.n_frames, 96, 96) and tensors["roi"].dtype == np.uint8
    assert tensors["wav"].shape == (640 * row.n_frames,)
    assert (tensors["wav"][: len(wav)] == wav).all() and not tensors["wav"][len(wav) :].any()
    assert row.face_share > 0.9


def test_a_clip_without_sound_leaves_no_file(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sound"):
        prepare_clip(Utterance("a", clip, None, "", "drawn", "test"), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
