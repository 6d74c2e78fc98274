"""Audio files: reading, alignment with video, writing."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from lip2speech.audio.io import (
    audio_writer,
    read_wav,
    rechunk,
    resample,
    to_pcm,
    wav_reader,
    wav_writer,
    write_wav,
)
from lip2speech.audio.mux import mux
from lip2speech.constants import AUDIO_SUFFIXES
from lip2speech.video.errors import MediaError
from tests.audio.recordings import bursts, onset_s, write_talk
from tests.video.clips import counter_video, sine


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff"])
def test_audio_files_are_read_unchanged(suffix: str, tmp_path: Path) -> None:
    wav = sine(0.5)
    soundfile.write(tmp_path / f"a.{suffix}", wav, 16_000)
    found = read_wav(tmp_path / f"a.{suffix}")
    assert (found.dtype, found.shape) == (torch.float32, (8000,))
    assert np.abs(found.numpy() - wav).max() < (0.1 if suffix == "ogg" else 1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_is_read_at_the_same_level(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(0.2), 16_000, subtype=subtype)
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.03}.get(subtype, 1e-4)
    assert np.abs(read_wav(tmp_path / "a.wav").numpy() - sine(0.2)).max() < tolerance


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = sine(0.2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left, 3 * left / 2], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav").numpy(), left / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 44_099])
def test_any_sample_rate_is_resampled_to_16_khz(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0, rate), rate)
    found = read_wav(tmp_path / "a.wav").numpy()
    assert abs(len(found) - 16_000) <= 1
    middle = slice(1000, 15_000)
    assert np.abs(found[:16_000][middle] - sine(1.0)[: len(found)][middle]).max() < 0.02


def test_resampling_to_the_same_rate_returns_the_input() -> None:
    wav = torch.randn(100)
    assert resample(wav, 16_000, 16_000) is wav


def test_audio_of_a_video_starts_with_its_first_frame(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.mp4", bursts(1.0))
    assert onset_s(read_wav(path)) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize(
    ("video_at", "audio_at", "onset"), [(0.0, 0.2, 0.7), (0.2, 0.0, 0.3), (5.0, 5.0, 0.5)]
)
@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_streams_with_different_start_times_are_aligned(
    suffix: str, video_at: float, audio_at: float, onset: float, tmp_path: Path
) -> None:
    path = write_talk(tmp_path / f"a.{suffix}", bursts(1.0), video_at=video_at, audio_at=audio_at)
    # A transport stream does not signal the 64 ms of AAC priming; PCM has none.
    assert onset_s(read_wav(path)) == pytest.approx(onset, abs=0.003 if suffix == "mkv" else 0.07)


def test_a_video_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a.mp4: no audio in this file"):
        read_wav(counter_video(tmp_path / "a.mp4", 3))


def test_empty_and_nan_audio_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(MediaError, match="a.wav"):
        read_wav(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="b.wav: its audio has NaN or infinite samples"):
        read_wav(tmp_path / "b.wav")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(MediaError, match="a.wav: not a"):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mkv"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_reading_in_blocks_equals_reading_at_once(name: str, rate: int, tmp_path: Path) -> None:
    if name == "a.mkv":
        write_talk(tmp_path / name, bursts(3.0, rate), video_at=0.1, rate=rate)
    else:
        soundfile.write(tmp_path / name, sine(3.0, rate), rate)
    with wav_reader(tmp_path / name, 16_000, block_size=1000) as blocks:
        found = list(blocks)
    assert {len(block) for block in found[:-1]} == {1000}
    assert 1 <= len(found[-1]) <= 1000
    torch.testing.assert_close(torch.cat(found), read_wav(tmp_path / name), atol=2e-6, rtol=0)


def test_rechunk_preserves_all_samples() -> None:
    whole = torch.arange(1000.0)
    for sizes in ([1] * 1000, [999, 1], [0, 500, 0, 500], [1000]):
        assert torch.cat(list(rechunk(whole.split(sizes), 64))).equal(whole)
    assert list(rechunk([], 8)) == []


def test_reading_in_blocks_refuses_the_same_files(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "b.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    for name, message in (("a.wav", "no samples"), ("b.wav", "NaN"), ("c.wav", "No such file")):
        with pytest.raises(MediaError, match=message), wav_reader(tmp_path / name) as blocks:
            list(blocks)


def test_written_wav_is_16_bit_clipped_and_read_back(tmp_path: Path) -> None:
    wav = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 7.0, -7.0])
    write_wav(tmp_path / "a.wav", wav)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 16_000, 1)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav"), wav.clamp(-1, 1), atol=1e-4)


def test_writing_in_blocks_equals_writing_at_once(tmp_path: Path) -> None:
    wav = torch.from_numpy(sine(0.3))
    write_wav(tmp_path / "a.wav", wav)
    with wav_writer(tmp_path / "b.wav") as write:
        for part in wav.split(777):
            write(part)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("bad", [torch.zeros(1, 5), torch.full((5,), torch.nan)])
def test_nothing_is_written_on_failure(bad: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wav"):
        write_wav(tmp_path / "a.wav", bad)
    with pytest.raises(ValueError, match="wav"), wav_writer(tmp_path / "b.wav") as write:
        write(bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".aac", ".flac", ".mp3"])
def test_audio_behind_an_id3_tag_with_a_large_picture_is_read(suffix: str, tmp_path: Path) -> None:
    path, size = encode(tmp_path / f"a{suffix}", bursts(1.0)), 300_000
    id3 = b"ID3\x04\x00\x00" + bytes(size >> 7 * k & 0x7F for k in (3, 2, 1, 0)) + bytes(size)
    before = read_wav(path)
    path.write_bytes(id3 + path.read_bytes())
    torch.testing.assert_close(read_wav(path), before, rtol=0, atol=0.02)
    assert onset_s(read_wav(path)) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("rate", [8000, 11_025, 12_000, 24_000, 48_000])
def test_mp3_of_every_mpeg_version_is_read(rate: int, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp3", bursts(1.0, rate), rate, {"write_xing": "0", "id3v2_version": "0"})
    assert path.read_bytes()[:1] == b"\xff"
    assert onset_s(read_wav(path)) == pytest.approx(0.5, abs=0.15)  # the delay of the encoder


def test_where_audio_is_expected_the_messages_speak_of_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(MediaError, match=r"a.wav: not an accepted audio format; convert it to one of wav"):
        read_wav(tmp_path / "a.wav")
    (tmp_path / "b.wav").touch()
    with pytest.raises(MediaError, match=r"b.wav: the file is empty; expected an audio file"):
        read_wav(tmp_path / "b.wav")
    with pytest.raises(MediaError, match="this is a folder, expected an audio file"):
        read_wav(tmp_path)


def encode(path: Path, wav: np.ndarray, rate: int = 16_000, options: dict[str, str] | None = None) -> Path:
    """(T,) float32 in the codec of the suffix."""
    codec = {".aac": "aac", ".flac": "flac", ".mp3": "libmp3lame"}[path.suffix]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.format.name, "mono", rate, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(to_pcm(wav)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_audio_format_is_written_block_by_block_and_read_back(suffix: str, tmp_path: Path) -> None:
    wav = torch.from_numpy(sine(1.0))
    path = tmp_path / f"a{suffix}"
    with audio_writer(path) as write:
        for block in wav.split(3000):
            write(block)
        assert not path.exists()
    found = read_wav(path)
    assert abs(len(found) - len(wav)) < 3000  # MP3 and AAC add silence at the ends
    assert found[4000:12_000].std() == pytest.approx(float(wav.std()), rel=0.05)
    if suffix in (".wav", ".flac"):
        torch.testing.assert_close(found, wav, atol=1e-4, rtol=0)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_audio_suffix_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"a\.xyz: expected a name that ends in one of \.wav"),
        audio_writer(tmp_path / "a.xyz"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def write_blocks(path: Path, wav: torch.Tensor) -> None:
    with audio_writer(path) as write:
        for block in wav.split(4000):
            write(block)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: like a full disk, for any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_full_disk_is_an_error_of_the_system_with_the_name_of_the_file(
    suffix: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    noise = torch.rand(16_000, generator=torch.Generator().manual_seed(0)) - 0.5
    with pytest.raises(OSError, match="File too large") as caught, largest_file(size):
        write_blocks(path, noise)
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_muxing_is_an_error_of_the_system(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4")
    with pytest.raises(OSError, match="File too large") as caught, largest_file(1000):
        mux(video, sine(1.0), tmp_path / "b.mp4")
    assert caught.value.filename == str(tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == [video]
