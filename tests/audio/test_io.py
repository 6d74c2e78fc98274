"""Sound at the file door: read, written, aligned with the picture, put onto a video."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from lip2speech.audio.io import read_wav, rechunk, resample, to_pcm, wav_reader, wav_writer, write_wav
from lip2speech.audio.mux import mux
from lip2speech.video import read_frames
from lip2speech.video.errors import MediaError
from tests.video.clips import counter_frame, counter_video, read_counter, sine


def bursts(seconds: float, sample_rate: int = 16_000, at: tuple[float, ...] = (0.5,)) -> np.ndarray:
    """(T,) float32 silence with 20 ms of a 1 kHz tone beginning at the given times."""
    wav = np.zeros(round(seconds * sample_rate), np.float32)
    tone = sine(0.02, sample_rate, 1000) * 1.6
    for time in at:
        begin = round(time * sample_rate)
        wav[begin : begin + len(tone)] = tone
    return wav


def loud_from(wav: Any, sample_rate: int = 16_000) -> float:
    """Seconds to the first loud sample."""
    return float(np.argmax(np.abs(np.asarray(wav)) > 0.2)) / sample_rate


def write_talk(
    path: Path, wav: np.ndarray, *, video_at: float = 0.0, sound_at: float = 0.0, rate: int = 16_000
) -> Path:
    """25 numbered frames from `video_at` s on, and sound from `sound_at` s on."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound: Any = container.add_stream(
            "pcm_s16le" if path.suffix in (".mkv", ".avi") else "aac", rate=rate, layout="mono"
        )
        for k in range(25):
            frame = av.VideoFrame.from_ndarray(counter_frame(k), format="rgb24")
            frame.pts, frame.time_base = round((video_at + k / 25) * 90_000), Fraction(1, 90_000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        resampler = av.AudioResampler(format=sound.format.name, layout="mono", rate=rate, frame_size=1024)
        samples = av.AudioFrame.from_ndarray(to_pcm(wav)[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = rate, round(sound_at * rate), Fraction(1, rate)
        for part in [*resampler.resample(samples), *resampler.resample(None)]:
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff"])
def test_sound_files_are_read_as_they_are(suffix: str, tmp_path: Path) -> None:
    wav = sine(0.5)
    soundfile.write(tmp_path / f"a.{suffix}", wav, 16_000)
    found = read_wav(tmp_path / f"a.{suffix}")
    assert (found.dtype, found.shape) == (torch.float32, (8000,))
    assert np.abs(found.numpy() - wav).max() < (0.1 if suffix == "ogg" else 1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_has_the_same_level(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(0.2), 16_000, subtype=subtype)
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.03}.get(subtype, 1e-4)
    assert np.abs(read_wav(tmp_path / "a.wav").numpy() - sine(0.2)).max() < tolerance


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = sine(0.2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left, 3 * left / 2], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav").numpy(), left / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 44_099])
def test_any_rate_becomes_16_khz(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1.0, rate), rate)
    found = read_wav(tmp_path / "a.wav").numpy()
    assert abs(len(found) - 16_000) <= 1
    middle = slice(1000, 15_000)
    assert np.abs(found[:16_000][middle] - sine(1.0)[: len(found)][middle]).max() < 0.02


def test_resampling_to_the_same_rate_is_free() -> None:
    wav = torch.randn(100)
    assert resample(wav, 16_000, 16_000) is wav


def test_sound_of_a_video_begins_with_its_first_frame(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.mp4", bursts(1.0))
    assert loud_from(read_wav(path)) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize(
    ("video_at", "sound_at", "heard"), [(0.0, 0.2, 0.7), (0.2, 0.0, 0.3), (5.0, 5.0, 0.5)]
)
@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_streams_that_start_apart_are_aligned(
    suffix: str, video_at: float, sound_at: float, heard: float, tmp_path: Path
) -> None:
    path = write_talk(tmp_path / f"a.{suffix}", bursts(1.0), video_at=video_at, sound_at=sound_at)
    # A transport stream does not say that its AAC has 64 ms of priming; PCM has none.
    assert loud_from(read_wav(path)) == pytest.approx(heard, abs=0.003 if suffix == "mkv" else 0.07)


def test_no_sound_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a.mp4: no audio in this file"):
        read_wav(counter_video(tmp_path / "a.mp4", 3))


def test_no_samples_and_no_numbers_are_one_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(MediaError, match="a.wav"):
        read_wav(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="b.wav: its audio has NaN or infinite samples"):
        read_wav(tmp_path / "b.wav")


def test_text_is_not_sound(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(MediaError, match="a.wav: not a"):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mkv"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_read_in_pieces_is_the_file_read_at_once(name: str, rate: int, tmp_path: Path) -> None:
    if name == "a.mkv":
        write_talk(tmp_path / name, bursts(3.0, rate), video_at=0.1, rate=rate)
    else:
        soundfile.write(tmp_path / name, sine(3.0, rate), rate)
    with wav_reader(tmp_path / name, 16_000, block_size=1000) as pieces:
        found = list(pieces)
    assert {len(piece) for piece in found[:-1]} == {1000} and 1 <= len(found[-1]) <= 1000
    torch.testing.assert_close(torch.cat(found), read_wav(tmp_path / name), atol=2e-6, rtol=0)


def test_pieces_are_regrouped_without_a_loss() -> None:
    whole = torch.arange(1000.0)
    for sizes in ([1] * 1000, [999, 1], [0, 500, 0, 500], [1000]):
        assert torch.cat(list(rechunk(whole.split(sizes), 64))).equal(whole)
    assert list(rechunk([], 8)) == []


def test_pieces_refuse_what_the_whole_refuses(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "b.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    for name, message in (("a.wav", "no samples"), ("b.wav", "NaN"), ("c.wav", "No such file")):
        with pytest.raises(MediaError, match=message), wav_reader(tmp_path / name) as pieces:
            list(pieces)


def test_what_is_written_is_16_bit_clipped_and_read_back(tmp_path: Path) -> None:
    wav = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 7.0, -7.0])
    write_wav(tmp_path / "a.wav", wav)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 16_000, 1)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav"), wav.clamp(-1, 1), atol=1e-4)


def test_writing_bit_by_bit_equals_writing_at_once(tmp_path: Path) -> None:
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
    with pytest.raises(RuntimeError), wav_writer(tmp_path / "b.wav") as write:
        write(torch.zeros(10))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_sound_is_put_onto_a_video_in_sync_and_the_picture_is_copied(suffix: str, tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4")
    mux(video, bursts(1.0), tmp_path / f"b{suffix}")
    assert loud_from(read_wav(tmp_path / f"b{suffix}")) == pytest.approx(0.5, abs=0.003)
    reader = read_frames(tmp_path / f"b{suffix}")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert packets_of(tmp_path / f"b{suffix}") == packets_of(video) or suffix == ".avi"


def test_old_sound_is_replaced_and_the_start_is_moved_to_0(tmp_path: Path) -> None:
    video = write_talk(tmp_path / "a.ts", bursts(1.0, at=(0.1,)), video_at=7.0, sound_at=7.0)
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    reader = read_frames(tmp_path / "b.mp4")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert reader.report.start == pytest.approx(0, abs=0.001)
    assert loud_from(read_wav(tmp_path / "b.mp4")) == pytest.approx(0.5, abs=0.003)


def test_a_codec_the_container_does_not_take_is_encoded_anew(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.webm", codec="libvpx", time_base=Fraction(1, 1000))
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    reader = read_frames(tmp_path / "b.mp4")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert reader.report.codec == "h264"


def test_rotation_survives_copying(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4", 3, prepare=lambda _, stream: stream.set_display_rotation(90))
    mux(video, bursts(0.2, at=()), tmp_path / "b.mp4")
    reader = read_frames(tmp_path / "b.mp4")
    assert next(reader).shape == (128, 96, 3)


def test_mux_refuses_to_write_onto_its_source_and_strange_names(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4", 3)
    before = video.read_bytes()
    with pytest.raises(ValueError, match=r"a.mp4: this is the input video"):
        mux(video, sine(0.1), video)
    with pytest.raises(ValueError, match=r"b.txt: not a supported container; use one of .mp4"):
        mux(video, sine(0.1), tmp_path / "b.txt")
    with pytest.raises(MediaError):
        mux(tmp_path / "nothing.mp4", sine(0.1), tmp_path / "c.mp4")
    assert video.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def packets_of(path: Path) -> list[int]:
    """Sizes of the video's packets."""
    with av.open(str(path)) as container:
        return [packet.size for packet in container.demux(container.streams.video[0]) if packet.size]
