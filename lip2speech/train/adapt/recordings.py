"""Recordings: videos of one person who mouths known prompts, each next to its prompt (see data/prompts.py).

Videos are read and cropped exactly as in `convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import VIDEO_FPS
from lip2speech.data.prompts import list_videos, read_prompt

MIN_FACE_DETECTION_RATE = 0.8  # a longer no-face segment may contain a word
MAX_DURATION_S = 20  # one prompt per video: the cost of soft-DTW is quadratic in the duration
TTS_VOICE_STRIDE = 7  # step between the synthetic voices used, so that few of them already differ


@dataclass(frozen=True)
class Recording:
    """A prompt and its video.

    Attributes:
        roi: mouth crops (T, 96, 96) uint8.
        wav: audio (T_a,) at 16 kHz, or None.
    """

    id: str
    text: str
    roi: Tensor
    wav: Tensor | None = None

    def target_audio(self, n_voices: int) -> list[Tensor]:
        """Target audio, (T_a,) each: the recorded audio, else the prompt in `n_voices` synthetic voices."""
        if self.wav is not None:
            return [self.wav]
        from lip2speech.data.synthetic.prompts import synthesize_prompt

        return [torch.from_numpy(synthesize_prompt(self.text, TTS_VOICE_STRIDE * i)) for i in range(n_voices)]


def read_recordings(
    folder: Path, progress: Callable[[float], None] | None = None
) -> tuple[list[Recording], list[str]]:
    """Recordings of a folder, sorted by name, and a message for each video that cannot be used.

    Raises:
        ValueError: no such folder, or it has no video next to its prompt.
    """
    videos = list_videos(folder)
    if not videos:
        raise ValueError(f"{folder}: no video next to its prompt; record 001.txt as 001.mp4 and so on.")
    recordings, failures = [], []
    for done, video in enumerate(videos, 1):
        try:
            recordings.append(read_recording(video))
        except ValueError as error:
            failures.append(str(error))
        if progress is not None:
            progress(done / len(videos))
    return recordings, failures


def read_recording(video: Path) -> Recording:
    """One video and its prompt; ValueError if it cannot be used for adaptation."""
    from lip2speech.video import NoFaceError, load_roi

    text = read_prompt(video.with_suffix(".txt")).lower()
    if not text:
        raise ValueError(f"{video}: its prompt {video.stem}.txt is empty; write the mouthed words.")
    roi, report = load_roi(video)
    if report.face_detection_rate < MIN_FACE_DETECTION_RATE:
        raise NoFaceError(
            f"{video}: a face in {report.face_detection_rate:.0%} of the frames, expected "
            f"{MIN_FACE_DETECTION_RATE:.0%}; record it again."
        )
    if len(roi) > MAX_DURATION_S * VIDEO_FPS:
        seconds = len(roi) / VIDEO_FPS
        raise ValueError(
            f"{video}: {seconds:.0f} s, expected at most {MAX_DURATION_S} s; record one prompt per video."
        )
    audio = video.with_suffix(".wav")
    return Recording(video.stem, text, torch.from_numpy(roi), read_wav(audio) if audio.is_file() else None)


def split_recordings(recordings: Sequence[Recording], n_test: int) -> tuple[list[Recording], list[Recording]]:
    """Training recordings and the last `n_test` for testing; sentences of the test set are not trained on."""
    if not 0 <= n_test < len(recordings):
        raise ValueError(
            f"cannot hold out {n_test} of {len(recordings)} videos; record more, or hold out fewer."
        )
    n_train = len(recordings) - n_test
    test = list(recordings[n_train:])
    test_sentences = {recording.text for recording in test}
    return [recording for recording in recordings[:n_train] if recording.text not in test_sentences], test
