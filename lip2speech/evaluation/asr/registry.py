"""ASR backends by name.

    pocketsphinx    constrained to the GRID grammar; offline, installed with the extra `eval`
    whisper=DIR     Whisper, or another encoder-decoder of `transformers`, in a local folder

Nothing is downloaded, and no code of a model folder is executed. Error rates of different backends are never
comparable: the description saved with them includes a fingerprint of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.evaluation.asr.whisper import WhisperASR
from lip2speech.evaluation.metrics.common import Wav

DEFAULT_ASR = "pocketsphinx"


class ASR(Protocol):
    """The interface of a backend."""

    @property
    def description(self) -> str:
        """Its name and version."""

    def supports(self, text: str) -> bool:
        """Whether `text` is within its vocabulary and grammar."""

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> the transcript, "" if nothing was recognized."""


ASR_BACKENDS: dict[str, Callable[..., ASR]] = {"pocketsphinx": PocketSphinxASR, "whisper": WhisperASR}
"""`whisper` takes a folder."""


@cache
def load_asr(spec: str) -> ASR:
    """The backend named by `pocketsphinx` or `whisper=DIR`, created once per process.

    Raises:
        ValueError: unknown name, folder missing or not expected, not a model folder.
        ImportError: the backend is not installed.
    """
    name, _, folder = spec.partition("=")
    if name not in ASR_BACKENDS or (name == "whisper") != bool(folder):
        raise ValueError(f"unknown ASR {spec!r}; expected pocketsphinx or whisper=DIR.")
    return ASR_BACKENDS[name](folder) if folder else ASR_BACKENDS[name]()
