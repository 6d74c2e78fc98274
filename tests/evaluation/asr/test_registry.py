"""ASR backends by name (lip2speech/evaluation/asr/registry.py)."""

import numpy as np
import pytest

from lip2speech.evaluation.asr import ASR, ASR_BACKENDS, load_asr
from tests.evaluation.asr.tiny_whisper import save_whisper


@pytest.mark.parametrize("spec", ["whisper", "pocketsphinx=folder", "siri", ""])
def test_an_unknown_name_or_a_missing_folder_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="expected pocketsphinx or whisper=DIR"):
        load_asr(spec)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ASR]:
    """Every backend; Whisper with random weights."""
    folder = save_whisper(tmp_path_factory.mktemp("whisper"))
    specs = {"pocketsphinx": "pocketsphinx", "whisper": f"whisper={folder}"}
    assert set(specs) == set(ASR_BACKENDS), "a new backend needs an entry here"
    return {name: load_asr(spec) for name, spec in specs.items()}


@pytest.mark.parametrize("name", ASR_BACKENDS)
@pytest.mark.parametrize("samples", [0, 1, 16000, 31 * 16000])
def test_every_backend_transcribes_silence_as_nothing(
    backends: dict[str, ASR], name: str, samples: int
) -> None:
    assert backends[name].transcribe(np.zeros(samples, np.float32)) == ""


@pytest.mark.parametrize("name", ASR_BACKENDS)
def test_every_backend_refuses_samples_that_are_not_finite(backends: dict[str, ASR], name: str) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        backends[name].transcribe(np.full(16000, np.nan, np.float32))


@pytest.mark.parametrize("name", ASR_BACKENDS)
def test_every_backend_supports_a_grid_sentence_but_no_empty_text(
    backends: dict[str, ASR], name: str
) -> None:
    assert backends[name].supports("bin blue at f two now")
    assert not backends[name].supports("")


def test_a_backend_is_created_once_per_process() -> None:
    assert load_asr("pocketsphinx") is load_asr("pocketsphinx")
