"""The whole walk, from a silent video to speech: its length, its words, the same by the command."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from lip2speech import Lip2Speech
from lip2speech.audio.io import read_wav
from lip2speech.cli import app
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.pipeline import PipelineConfig
from lip2speech.video import NoFaceError, load_roi, read_frames
from tests.factories import make_likelihood, save_system

CLIPS = 8
WORDS_OF_6 = 4.5  # the recogniser itself misses some of a true voice's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole system with random weights: it says nothing, at the right length."""
    return save_system(tmp_path_factory.mktemp("walk") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Lip2Speech:
    return Lip2Speech.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def frames(clip: Path) -> int:
    with read_frames(clip) as reader:
        return sum(1 for _ in reader)


@pytest.fixture(scope="module")
def roi(clip: Path) -> np.ndarray:
    return load_roi(clip)[0]


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """Ten frames without a face."""
    import av

    with av.open(str(tmp_path / "blank.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25, width=128, height=128, pix_fmt="yuv420p")
        for packet in blank_packets(stream):
            file.mux(packet)
    return tmp_path / "blank.mp4"


def blank_packets(stream: object) -> Iterator[object]:
    import av

    for _ in range(10):
        frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 90, np.uint8), format="rgb24")
        yield from stream.encode(frame)  # type: ignore[attr-defined]
    yield from stream.encode(None)  # type: ignore[attr-defined]


def words_right(recogniser: PocketSphinxASR, wav: Tensor, text: str) -> int:
    found = recogniser.transcribe(wav).split()
    return sum(a == b for a, b in zip(found, text.split(), strict=False))


def test_a_silent_video_becomes_sound_of_its_length(tiny: Lip2Speech, clip: Path, frames: int) -> None:
    told: list[float] = []
    speech = tiny.convert(clip, progress=told.append)
    assert speech.wav is not None
    assert (speech.wav.shape, speech.wav.dtype) == ((640 * frames,), torch.float32)
    assert speech.wav.abs().max() <= 1
    assert speech.duration == frames / 25
    assert speech.report.face_detection_rate == 1
    assert told == sorted(told) and told[-1] == 1


def test_the_walk_is_its_steps(tiny: Lip2Speech, clip: Path, roi: np.ndarray) -> None:
    assert torch.equal(tiny.convert(clip).wav, tiny(roi))


def test_a_long_video_is_spoken_in_windows(tiny: Lip2Speech, clip: Path, frames: int, tmp_path: Path) -> None:
    short = Lip2Speech(
        "short", tiny.model, tiny.vocoders, tiny.transform, tiny.voices, PipelineConfig("mel", "ann", 20, 6)
    )
    speech = short.convert_to(clip, tmp_path / "out.wav")
    assert speech.wav is None
    assert read_wav(tmp_path / "out.wav").shape == (640 * frames,)


def test_the_codes_of_a_whole_clip_have_their_mean_bits(
    tiny: Lip2Speech, clip: Path, roi: np.ndarray
) -> None:
    network, prediction = make_likelihood(), tiny.predict(roi)
    expected = float(network.bits(prediction.require("codes"), prediction.speaker).mean())
    judged = replace(tiny, likelihood=network)
    assert judged.convert(clip).bits_per_code == pytest.approx(expected, abs=1e-5)
    short = replace(judged, config=PipelineConfig("mel", "ann", 20, 6)).convert(clip)
    assert short.bits_per_code == pytest.approx(expected, abs=0.3)


def test_a_video_without_a_face_is_an_error_and_leaves_nothing(tiny: Lip2Speech, blank: Path) -> None:
    with pytest.raises(NoFaceError, match="blank.mp4: no face in 10 of 10 frames"):
        tiny.convert_to(blank, blank.with_suffix(".wav"))
    assert [path.name for path in blank.parent.iterdir()] == ["blank.mp4"]


def test_the_command_speaks_a_video(clip: Path, frames: int, folder: Path, tmp_path: Path) -> None:
    words = ["convert", str(clip), "-o", str(tmp_path / "out.wav"), "--model", str(folder), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert (row["frames"], row["route"], row["model"]) == (frames, "mel", "tiny")
    assert read_wav(tmp_path / "out.wav").shape == (640 * frames,)


def test_the_command_puts_the_sound_onto_the_video(
    clip: Path, frames: int, folder: Path, tmp_path: Path
) -> None:
    words = ["convert", str(clip), "-o", str(tmp_path / "out.mp4"), "--model", str(folder), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    with read_frames(tmp_path / "out.mp4") as reader:
        assert sum(1 for _ in reader) == frames
    assert len(read_wav(tmp_path / "out.mp4")) == pytest.approx(640 * frames, abs=2048)  # AAC's whole blocks


def test_the_shipped_model_is_understood(tmp_path: Path) -> None:
    """On faces, voices and sentences it has never met; by chance one word in five is right."""
    from lip2speech.data.synthetic import make_corpus

    recogniser, speaker = PocketSphinxASR(), Lip2Speech.from_pretrained()
    right = 0
    for name in make_corpus(tmp_path / "talkers", CLIPS, 5, "test", "drawn"):
        video = tmp_path / "talkers" / f"{name}.mp4"
        wav = speaker.convert(video).wav
        assert wav is not None
        right += words_right(recogniser, wav, video.with_suffix(".txt").read_text())
    assert right >= WORDS_OF_6 * CLIPS


def test_the_command_speaks_as_the_library_does(clip: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(clip), "-o", str(tmp_path / "out.wav")])
    assert result.exit_code == 0, result.output
    wav = Lip2Speech.from_pretrained().convert(clip).wav
    assert wav is not None
    assert (read_wav(tmp_path / "out.wav") - wav).abs().max() < 1e-3
