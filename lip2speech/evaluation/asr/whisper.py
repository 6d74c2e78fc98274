"""Whisper, or another encoder-decoder ASR of `transformers`, from a local folder; greedy decoding."""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.metrics.common import Wav, check_wav, is_silent

WINDOW_S = 30
"""Whisper's input length; longer waveforms are split."""


class WhisperASR:
    """An ASR model folder of `transformers`, on the GPU if there is one.

    Raises:
        ValueError: the folder holds no such model. ImportError: transformers is not installed.
    """

    def __init__(self, folder: str):
        import transformers

        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise ValueError(f"{folder}: has no config.json; give an ASR model folder of transformers.")
        model_type = _read_json(self.folder / "config.json").get("model_type", "unknown")
        weights = weights_fingerprint(self.folder)
        self.description = f"{model_type}, transformers {transformers.__version__}, greedy, sha256 {weights}"

    def supports(self, text: str) -> bool:
        """Any text with at least one character."""
        return bool(text.strip())

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> text; windows of 30 s are transcribed independently."""
        samples = check_wav(wav)
        size = WINDOW_S * SAMPLE_RATE
        windows = [samples[i : i + size] for i in range(0, len(samples), size)]
        texts = [self._transcribe_window(window) for window in windows if not is_silent(window)]
        return " ".join(text for text in texts if text)

    def _transcribe_window(self, samples: NDArray[Any]) -> str:
        result = self._pipeline({"raw": samples, "sampling_rate": SAMPLE_RATE})
        return " ".join(result["text"].split())

    @cached_property
    def _pipeline(self) -> Any:
        import transformers as library

        transformers: Any = library  # partly untyped
        # Both flags are needed: an adapter in the folder may name a base model, which would be downloaded.
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, **local)
            model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(self.folder, **local)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.folder}: transformers cannot load an ASR model from it ({error})."
            ) from error
        return transformers.pipeline(
            "automatic-speech-recognition",
            model=model.eval(),
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=0 if torch.cuda.is_available() else -1,
        )


@cache
def weights_fingerprint(folder: Path) -> str:
    """The first 16 digits of a SHA-256 over the weights and settings in a model folder."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".bin", ".json"}):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not JSON ({error}).") from error
    return values if isinstance(values, dict) else {}
