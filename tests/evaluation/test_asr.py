"""The socket for recognisers: what it takes, what it refuses, and a random Whisper of four layers."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lip2speech.evaluation import asr as recognisers
from lip2speech.evaluation.asr import RECOGNISERS, WhisperASR, recogniser_of
from lip2speech.evaluation.scorer import ScoredPair, score, summarise

NOISE = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


@pytest.mark.parametrize("spec", ["whisper", "grammar=folder", "siri", ""])
def test_another_name_or_a_missing_folder_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="a recogniser is grammar or whisper=FOLDER"):
        recogniser_of(spec)


def test_every_plug_hears_nothing_in_silence() -> None:
    assert set(RECOGNISERS) == {"grammar", "whisper"}
    assert recogniser_of("grammar").transcribe(np.zeros(16000, np.float32)) == ""


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths that a stand-in for transformers was given; it says the same again and again."""
    lengths: list[int] = []

    def listen(sound: dict) -> dict[str, str]:
        lengths.append(len(sound["raw"]))
        return {"text": " Bin BLUE, bin blue, bin blue, bin blue. "}

    class Loaded:
        """Model and processor alike."""

        tokenizer = feature_extractor = None

        @staticmethod
        def from_pretrained(folder: Path, *, local_files_only: bool, trust_remote_code: bool) -> "Loaded":
            assert folder == tmp_path and local_files_only and not trust_remote_code
            return Loaded()

        def eval(self) -> "Loaded":
            return self

    fake = SimpleNamespace(
        __version__="0",
        pipeline=lambda *_, **__: listen,
        AutoProcessor=Loaded,
        AutoModelForSpeechSeq2Seq=Loaded,
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    recognisers.recogniser_of.cache_clear()
    return lengths


def test_a_clip_counts_at_most_wholly_wrong_and_a_loop_is_told(tmp_path: Path, heard: list[int]) -> None:
    pair = ScoredPair("a", NOISE, NOISE, "Bin blue")
    one = score(pair, ("wer", "cer"), recogniser=f"whisper={tmp_path}")
    assert (one.words, one.edits, one.looped, one.slots) == (2, 6, True, ())
    assert summarise("x", [one])["wer"].mean == 1 and heard == [16000]


def test_long_sounds_are_heard_in_windows(tmp_path: Path, heard: list[int]) -> None:
    WhisperASR(str(tmp_path)).transcribe(np.tile(NOISE, 31))
    assert heard == [480000, 16000]


def test_the_recipe_names_the_very_weights(tmp_path: Path, heard: list[int]) -> None:
    before = WhisperASR(str(tmp_path)).recipe
    (tmp_path / "model.safetensors").write_bytes(b"2")
    recognisers.weights_sum.cache_clear()
    assert before.startswith("whisper by transformers 0, greedy, sha256 ")
    assert WhisperASR(str(tmp_path)).recipe != before


def test_a_folder_without_a_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="0"))
    with pytest.raises(ValueError, match="has no config.json"):
        WhisperASR(str(tmp_path))


def test_a_real_whisper_of_random_weights_transcribes(tmp_path: Path) -> None:
    import transformers

    from tests.evaluation.tiny_whisper import save_whisper

    save_whisper(transformers, tmp_path)
    whisper = WhisperASR(str(tmp_path))
    said = whisper.transcribe(NOISE)
    assert isinstance(said, str) and said == whisper.transcribe(NOISE)
