"""Who listens: recognisers as plugs.

    grammar         pocketsphinx, bound to the GRID grammar; offline, ships with the extra `eval`
    whisper=FOLDER  Whisper, or another encoder and decoder of `transformers`, whose files the user has

Local files only: nothing is fetched, and no code of a model folder is run. Transcripts are greedy. Word error
rates of two recognisers are never comparable; the recipe that is saved with them holds a sum of the weights.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.evaluation.metrics.intelligibility import Wav, check_wav, is_silent

WINDOW_S = 30  # what Whisper hears at once; longer sounds are cut


class ASR(Protocol):
    """A plug: `recipe` names it and its version; `covers` tells whether it could say a text at all."""

    recipe: str

    def covers(self, text: str) -> bool: ...

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> what was understood, "" for nothing."""
        ...


class WhisperASR:
    """A recogniser of `transformers` in a local folder, on the GPU where there is one.

    Raises:
        ValueError: the folder is not such a model. ImportError: transformers is missing.
    """

    def __init__(self, folder: str):
        import transformers

        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise ValueError(
                f"{folder}: has no config.json; give a folder with a recogniser of transformers."
            )
        kind = _json(self.folder / "config.json").get("model_type", "unknown")
        self.recipe = (
            f"{kind} by transformers {transformers.__version__}, greedy, sha256 {weights_sum(self.folder)}"
        )

    def covers(self, text: str) -> bool:
        """Every text that is one."""
        return bool(text.strip())

    def transcribe(self, wav: Wav) -> str:
        """(T_a,) at 16 kHz -> text; windows of 30 s are heard one by one."""
        samples = check_wav(wav)
        size = WINDOW_S * SAMPLE_RATE
        pieces = [samples[i : i + size] for i in range(0, len(samples), size)]
        heard = [self._hear(piece) for piece in pieces if not is_silent(piece)]
        return " ".join(text for text in heard if text)

    def _hear(self, samples: Any) -> str:
        said = self._pipeline({"raw": samples, "sampling_rate": SAMPLE_RATE})
        return " ".join(said["text"].split())

    @cached_property
    def _pipeline(self) -> Any:
        import transformers

        # Not by the folder's name alone: an adapter in it may name a base model, which would be fetched.
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, **local)
            model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(self.folder, **local)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.folder}: is no recogniser that transformers can load ({error})."
            ) from error
        return transformers.pipeline(
            "automatic-speech-recognition",
            model=model.eval(),
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=0 if torch.cuda.is_available() else -1,
        )


RECOGNISERS: dict[str, Any] = {"grammar": PocketSphinxASR, "whisper": WhisperASR}
"""Name -> plug; `whisper` takes a folder."""


@cache
def recogniser_of(spec: str) -> ASR:
    """The recogniser that `grammar` or `whisper=FOLDER` names, made once per process.

    Raises:
        ValueError: unknown name, or a folder too many or too few.
    """
    name, _, folder = spec.partition("=")
    if name not in RECOGNISERS or (name == "grammar") == bool(folder):
        raise ValueError(f"a recogniser is grammar or whisper=FOLDER, got {spec!r}.")
    plug: ASR = RECOGNISERS[name](folder) if folder else RECOGNISERS[name]()
    return plug


@cache
def weights_sum(folder: Path) -> str:
    """The first 16 digits of a SHA-256 over what decides how a model folder hears: weights and settings."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".bin", ".json"}):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not JSON ({error}).") from error
    return values if isinstance(values, dict) else {}
