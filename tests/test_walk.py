"""End to end, from a silent video to speech: its length, its words, the same by the command."""

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
from tests.factories import make_code_prior, save_system

CLIPS = 8
WORDS_OF_6 = 4.5  # the recogniser misses some words of real speech, too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole system with random weights: it gives noise of the right length."""
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


def test_a_silent_video_becomes_speech_of_its_length(tiny: Lip2Speech, clip: Path, frames: int) -> None:
    shares: list[float] = []
    result = tiny.convert(clip, progress=shares.append)
    assert result.wav is not None
    assert (result.wav.shape, result.wav.dtype) == ((640 * frames,), torch.float32)
    assert result.wav.abs().max() <= 1
    assert result.duration == frames / 25
    assert result.report.face_detection_rate == 1
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_short_video_is_one_window(tiny: Lip2Speech, clip: Path, roi: np.ndarray) -> None:
    assert torch.equal(tiny.convert(clip).wav, tiny.synthesize(roi))


def test_a_long_video_is_synthesized_in_windows(
    tiny: Lip2Speech, clip: Path, frames: int, tmp_path: Path
) -> None:
    short = replace(tiny, config=PipelineConfig("mel", "ann", 20, 6))
    result = short.convert_to_file(clip, tmp_path / "out.wav")
    assert result.wav is None
    assert read_wav(tmp_path / "out.wav").shape == (640 * frames,)


def test_the_codes_of_a_clip_have_their_mean_bits(tiny: Lip2Speech, clip: Path, roi: np.ndarray) -> None:
    network, prediction = make_code_prior(), tiny.predict(roi)
    expected = float(network.bits(prediction.require("codes"), prediction.speaker).mean())
    with_prior = replace(tiny, code_prior=network)
    assert with_prior.convert(clip).bits_per_code == pytest.approx(expected, abs=1e-5)
    short = replace(with_prior, config=PipelineConfig("mel", "ann", 20, 6)).convert(clip)
    assert short.bits_per_code == pytest.approx(expected, abs=0.3)


def test_a_video_without_a_face_is_an_error_and_leaves_nothing(tiny: Lip2Speech, blank: Path) -> None:
    with pytest.raises(NoFaceError, match="blank.mp4: no face in 10 of 10 frames"):
        tiny.convert_to_file(blank, blank.with_suffix(".wav"))
    assert [path.name for path in blank.parent.iterdir()] == ["blank.mp4"]


def test_the_command_converts_a_video(clip: Path, frames: int, folder: Path, tmp_path: Path) -> None:
    words = ["convert", str(clip), "-o", str(tmp_path / "out.wav"), "--model", str(folder), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert (row["frames"], row["vocoder"], row["model"]) == (frames, "mel", "tiny")
    assert read_wav(tmp_path / "out.wav").shape == (640 * frames,)


def test_the_command_puts_the_speech_onto_the_video(
    clip: Path, frames: int, folder: Path, tmp_path: Path
) -> None:
    words = ["convert", str(clip), "-o", str(tmp_path / "out.mp4"), "--model", str(folder), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    with read_frames(tmp_path / "out.mp4") as reader:
        assert sum(1 for _ in reader) == frames
    assert len(read_wav(tmp_path / "out.mp4")) == pytest.approx(640 * frames, abs=2048)  # AAC's whole blocks


def test_the_bundled_model_is_intelligible(tmp_path: Path) -> None:
    """On unseen faces, voices and sentences; by chance one word in five is right."""
    from lip2speech.data.synthetic import make_corpus

    recogniser, model = PocketSphinxASR(), Lip2Speech.from_pretrained()
    right = 0
    for name in make_corpus(tmp_path / "synth", CLIPS, 5, "test", "drawn"):
        video = tmp_path / "synth" / f"{name}.mp4"
        wav = model.convert(video).wav
        assert wav is not None
        right += words_right(recogniser, wav, video.with_suffix(".txt").read_text())
    assert right >= WORDS_OF_6 * CLIPS


def test_the_command_gives_what_the_library_gives(clip: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", str(clip), "-o", str(tmp_path / "out.wav")])
    assert result.exit_code == 0, result.output
    wav = Lip2Speech.from_pretrained().convert(clip).wav
    assert wav is not None
    assert (read_wav(tmp_path / "out.wav") - wav).abs().max() < 1e-3
