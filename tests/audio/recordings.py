"""Synthetic audio, and videos with audio, at known times."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from lip2speech.audio.io import to_pcm
from tests.video.clips import counter_frame, sine


def bursts(seconds: float, sample_rate: int = 16_000, at: tuple[float, ...] = (0.5,)) -> NDArray[Any]:
    """(T,) float32 silence with 20 ms bursts of a 1 kHz tone at the given times."""
    wav = np.zeros(round(seconds * sample_rate), np.float32)
    tone = sine(0.02, sample_rate, 1000) * 1.6
    for time in at:
        begin = round(time * sample_rate)
        wav[begin : begin + len(tone)] = tone
    return wav


def onset_s(wav: Any, sample_rate: int = 16_000) -> float:
    """Time of the first loud sample in seconds."""
    return float(np.argmax(np.abs(np.asarray(wav)) > 0.2)) / sample_rate


def write_talk(
    path: Path, wav: NDArray[Any], *, video_at: float = 0.0, audio_at: float = 0.0, rate: int = 16_000
) -> Path:
    """25 numbered frames starting at `video_at` s, and audio starting at `audio_at` s."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio: Any = container.add_stream(
            "pcm_s16le" if path.suffix in (".mkv", ".avi") else "aac", rate=rate, layout="mono"
        )
        for k in range(25):
            frame = av.VideoFrame.from_ndarray(counter_frame(k), format="rgb24")
            frame.pts, frame.time_base = round((video_at + k / 25) * 90_000), Fraction(1, 90_000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=rate, frame_size=1024)
        samples = av.AudioFrame.from_ndarray(to_pcm(wav)[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = rate, round(audio_at * rate), Fraction(1, rate)
        for converted in [*resampler.resample(samples), *resampler.resample(None)]:
            container.mux(audio.encode(converted))
        container.mux(audio.encode(None))
    return path
