"""Text-to-speech with phoneme times by espeak-ng, through ctypes.

espeak-ng is GPL-3: it is used to make a corpus (extra `synth`), never when lip2speech runs. The package
`espeakng-loader` contains the library and its data. There is one synthesizer per process, because the library
has global state.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NATIVE_RATE = 22050
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 1
INITIALIZE_DONT_EXIT = 0x8000
EVENT_END, EVENT_PHONEME = 0, 7
FLAG_UTF8, FLAG_PHONEMES = 1, 0x100
PARAM_RATE, PARAM_VOLUME, PARAM_PITCH, PARAM_RANGE = 1, 2, 3, 4
STRESS_MARKS = "',%=_|;-:!^"  # suffixes of a phoneme name that change neither lips nor words
BUFFER_MS = 200
VOLUME = 80
RANDOM_SEED = 1


class MissingExtraError(ImportError):
    """A package of the `synth` extra is not installed."""


@dataclass(frozen=True)
class Phoneme:
    """A phoneme, named as in espeak-ng, with its start and end in seconds from the start of the audio."""

    name: str
    start: float
    end: float


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class EspeakSynthesizer:
    """The espeak-ng library of this process, see `load_espeak`."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self._library_path = library_path
        self._data_path = data_path.encode()
        self._callback = _CALLBACK(self._collect)  # referenced here, as the library keeps only its pointer
        self._chunks: list[NDArray[Any]] = []
        self._marks: list[tuple[str, int]] = []
        self._lib: ctypes.CDLL | None = None

    def _collect(self, samples: Any, n_samples: int, events: Any) -> int:
        if samples and n_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        i = 0
        while events[i].type != EVENT_END:
            if events[i].type == EVENT_PHONEME:
                name = bytes(events[i].id.string).split(b"\0")[0].decode("utf-8", "replace")
                self._marks.append((name, events[i].sample))
            i += 1
        return 0

    def _restart(self) -> ctypes.CDLL:
        """Reload the library.

        Initializing a loaded one again is not enough: it keeps the phase of the voice, so its output would
        depend on earlier calls.
        """
        if self._lib is not None:
            self._lib.espeak_Terminate()
            _ctypes.dlclose(self._lib._handle)
        lib = self._lib = ctypes.CDLL(self._library_path)
        options = INITIALIZE_PHONEME_EVENTS | INITIALIZE_DONT_EXIT
        rate = lib.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, self._data_path, options)
        if rate != NATIVE_RATE:
            raise RuntimeError(
                f"espeak-ng is at {rate} Hz, expected {NATIVE_RATE} Hz; reinstall espeakng-loader."
            )
        lib.espeak_SetSynthCallback(self._callback)
        lib.espeak_ng_SetRandSeed(RANDOM_SEED)  # initialization seeds the flutter of the voice from the time
        ctypes.CDLL(None).srand(RANDOM_SEED)  # the noise of the Klatt voices is rand() of the C library
        return lib

    def synthesize(
        self, text: str, *, voice: str, rate: int, pitch: int, pitch_range: int
    ) -> tuple[NDArray[Any], list[Phoneme]]:
        """Audio (T,) float32 at `NATIVE_RATE` of a text, and its phonemes in order; pauses are named `_`."""
        lib = self._restart()
        self._chunks, self._marks = [], []
        if lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}.")
        settings = {PARAM_RATE: rate, PARAM_VOLUME: VOLUME, PARAM_PITCH: pitch, PARAM_RANGE: pitch_range}
        for parameter, value in settings.items():
            lib.espeak_SetParameter(parameter, value, 0)
        raw = text.encode()
        status = lib.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, FLAG_UTF8 | FLAG_PHONEMES, None, None)
        if status != 0 or not self._chunks:
            raise RuntimeError(f"espeak-ng could not synthesize {text!r} (status {status}).")
        wav = np.concatenate(self._chunks).astype(np.float32) / 32768.0
        return wav, _spans(self._marks, len(wav))


def _spans(marks: Sequence[tuple[str, int]], n_samples: int) -> list[Phoneme]:
    """Events (name, first sample) -> phonemes, each until the next event."""
    ends = [start for _, start in marks[1:]] + [n_samples]
    phonemes = []
    for (name, start), end in zip(marks, ends, strict=True):
        plain = name.strip(STRESS_MARKS)
        if end > start:
            phonemes.append(Phoneme(plain or "_", start / NATIVE_RATE, end / NATIVE_RATE))
    return phonemes


@functools.lru_cache(maxsize=1)
def load_espeak() -> EspeakSynthesizer:
    """The synthesizer of this process, loaded at the first call. ImportError: the extra is not installed."""
    try:
        import espeakng_loader
    except ImportError:
        raise MissingExtraError(
            "the synthetic corpus needs espeak-ng, which is not installed; pip install 'lip2speech[synth]'.",
            name="espeakng_loader",
        ) from None
    return EspeakSynthesizer(str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))
