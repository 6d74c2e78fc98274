"""Whisper from a local folder (lip2speech/evaluation/asr/whisper.py)."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lip2speech.evaluation.asr import load_asr
from lip2speech.evaluation.asr.whisper import WhisperASR, weights_fingerprint
from lip2speech.evaluation.metrics.registry import MetricsConfig
from lip2speech.evaluation.results import ScoredPair, summarize
from lip2speech.evaluation.scorer import score
from tests.evaluation.asr.tiny_whisper import save_whisper

NOISE = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


@pytest.fixture
def lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces transformers; lists the length of every input, which is always transcribed as a loop."""
    inputs: list[int] = []

    def transcribe(audio: dict[str, Any]) -> dict[str, str]:
        inputs.append(len(audio["raw"]))
        return {"text": " Bin BLUE, bin blue, bin blue, bin blue. "}

    class FakePretrained:
        """Model and processor."""

        tokenizer = feature_extractor = None

        @staticmethod
        def from_pretrained(
            folder: Path, *, local_files_only: bool, trust_remote_code: bool
        ) -> "FakePretrained":
            assert folder == tmp_path
            assert local_files_only
            assert not trust_remote_code
            return FakePretrained()

        def eval(self) -> "FakePretrained":
            return self

    fake = SimpleNamespace(
        __version__="0",
        pipeline=lambda *_, **__: transcribe,
        AutoProcessor=FakePretrained,
        AutoModelForSpeechSeq2Seq=FakePretrained,
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    load_asr.cache_clear()
    return inputs


def test_the_errors_of_a_clip_are_capped_at_100_percent_and_loops_reported(
    tmp_path: Path, lengths: list[int]
) -> None:
    pair = ScoredPair("a", NOISE, NOISE, "Bin blue")
    result = score(pair, MetricsConfig(("wer", "cer"), asr=f"whisper={tmp_path}"))
    assert (result.words, result.word_edits, result.repetition_loop, result.slot_errors) == (2, 6, True, ())
    assert summarize("x", [result])["wer"].mean == 1
    assert lengths == [16000]


def test_long_audio_is_transcribed_in_windows_of_30_seconds(tmp_path: Path, lengths: list[int]) -> None:
    WhisperASR(str(tmp_path)).transcribe(np.tile(NOISE, 31))
    assert lengths == [480000, 16000]


def test_the_description_identifies_the_weights(tmp_path: Path, lengths: list[int]) -> None:
    before = WhisperASR(str(tmp_path)).description
    (tmp_path / "model.safetensors").write_bytes(b"2")
    weights_fingerprint.cache_clear()
    assert before.startswith("whisper, transformers 0, greedy, sha256 ")
    assert WhisperASR(str(tmp_path)).description != before


def test_a_folder_without_a_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="0"))
    with pytest.raises(ValueError, match="has no config.json"):
        WhisperASR(str(tmp_path))


def test_a_real_whisper_with_random_weights_is_deterministic(tmp_path: Path) -> None:
    whisper = WhisperASR(str(save_whisper(tmp_path)))
    text = whisper.transcribe(NOISE)
    assert isinstance(text, str)
    assert text == whisper.transcribe(NOISE)


def test_a_folder_that_is_no_speech_model_is_refused_when_used(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="transformers cannot load an ASR model"):
        WhisperASR(str(tmp_path)).transcribe(NOISE)
