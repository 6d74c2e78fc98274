"""`lip2speech voice`, and conversion with enrolled voices (lip2speech/cli/voice.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.audio.io import read_wav, write_wav
from lip2speech.cli import app
from lip2speech.components import load_model_speaker_encoder
from lip2speech.config import to_dict
from lip2speech.pipeline import Lip2Speech
from lip2speech.pretrained import bundled_models
from lip2speech.voices.store import load_voice
from tests.factories import MODEL, make_model, save_system, synthetic_voice, system

CONSENT = "I am Ann Lee and agree that this computer speaks in my voice."


@pytest.fixture(autouse=True)
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of voices for each test."""
    monkeypatch.setenv("LIP2SPEECH_VOICES", str(tmp_path / "voices"))
    write_wav(tmp_path / "ann.wav", synthetic_voice(400, 150.0))
    return tmp_path / "voices"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_voice_is_enrolled_shown_listed_and_deleted(tmp_path: Path, voices: Path) -> None:
    code, output, _ = run("voice", "enroll", "ann", tmp_path / "ann.wav", "--consent", CONSENT)
    assert code == 0
    assert "--voice ann" in output
    assert run("voice", "list")[1].splitlines()[0] == "ann  enrolled"
    shown = run("voice", "show", "ann")[1]
    assert CONSENT in shown
    assert "150 Hz" in shown
    embeddings = json.loads(run("voice", "show", "ann", "--json")[1])["embeddings"]
    assert len(embeddings["ltas"]) == 163
    assert {load_model_speaker_encoder(name).fingerprint for name in bundled_models()} <= set(embeddings)
    code, output, _ = run("voice", "delete", "ann")
    assert code == 0
    assert "no file of it remains" in output
    assert "enrolled" not in run("voice", "list")[1]
    assert not list(voices.iterdir())


def test_the_list_says_where_voices_are_and_which_the_model_has(voices: Path) -> None:
    code, output, error = run("voice", "list")
    assert code == 0
    stored = Lip2Speech.from_pretrained("default", device="cpu").voices
    assert output.splitlines() == [f"{name}  stored in model default" for name in stored]
    assert error == f"lip2speech: no voice is enrolled; `voice enroll` would put it in {voices}\n"
    code, _, error = run("voice", "list", "--model", "nowhere")
    assert code == 5
    assert "bundled are: default, live" in error


def test_without_consent_no_voice_is_enrolled(tmp_path: Path, voices: Path) -> None:
    code, _, error = run("voice", "enroll", "ann", tmp_path / "ann.wav")
    assert code != 0
    assert "only with the consent" in error
    assert error.count("\n") == 1
    assert not voices.exists()


def test_an_unknown_voice_is_one_line() -> None:
    for what in ("show", "delete"):
        code, _, error = run("voice", what, "nobody")
        assert code != 0
        assert "no voice 'nobody' is enrolled" in error
        assert error.count("\n") == 1


def test_a_video_is_converted_with_an_enrolled_voice(tmp_path: Path, clip: Path) -> None:
    model = save_system(tmp_path / "small")
    run("voice", "enroll", "ann2", tmp_path / "ann.wav", "--consent", CONSENT)
    code, _, error = run(
        "convert", clip, "-o", tmp_path / "a.wav", "--model", model, "--voice", "ann2", "--quiet"
    )
    assert code == 0, error
    speech = Lip2Speech.from_pretrained(model, device="cpu")
    assert (
        speech.speaker_embedding("ann2").tolist()
        == load_voice("ann2").embedding(speech.speaker_encoder).tolist()
    )
    assert len(read_wav(tmp_path / "a.wav"))
    with pytest.raises(ValueError, match="stored: ann, ann2"):
        speech.speaker_embedding("nobody")


def test_an_enrolled_voice_takes_precedence_over_a_stored_one_of_that_name(tmp_path: Path) -> None:
    speech = Lip2Speech.from_pretrained(save_system(tmp_path / "small"), device="cpu")
    own = speech.speaker_embedding("ann")
    run("voice", "enroll", "ann", tmp_path / "ann.wav", "--consent", CONSENT)
    assert (
        speech.speaker_embedding("ann").tolist()
        == load_voice("ann").embedding(speech.speaker_encoder).tolist()
        != own.tolist()
    )
    assert speech.speaker_embedding(None).tolist() == own.tolist()


def save_external(folder: Path) -> Path:
    """A model whose heads take embeddings of an external encoder."""
    model = make_model(MODEL | {"heads": MODEL["heads"] | {"speaker_dim": 5}})
    values, tensors = system(model=to_dict(model.config))
    tensors = {k: v for k, v in tensors.items() if not k.startswith("model.")}
    tensors |= {f"model.{k}": v for k, v in model.state_dict().items()}
    checkpoint.save(folder, values, tensors | {"voice.ann": torch.zeros(5)}, "")
    return folder


def test_a_voice_is_enrolled_with_an_external_embedding(tmp_path: Path, clip: Path) -> None:
    external, vector = save_external(tmp_path / "external"), tmp_path / "eve.npy"
    np.save(vector, np.arange(5, dtype=np.float32))
    enroll = ("voice", "enroll", "eve", tmp_path / "ann.wav", "--consent", CONSENT, "--model", external)
    code, _, error = run(*enroll)
    assert code != 0
    assert "takes speaker embeddings of 5 dimensions from an external encoder" in error
    assert "--embedding" in error
    assert run(*enroll, "--embedding", vector)[0] == 0
    assert Lip2Speech.from_pretrained(external, device="cpu").speaker_embedding("eve").tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]
    options = ("--model", external, "--voice", "eve", "--quiet")
    assert run("convert", clip, "-o", tmp_path / "a.wav", *options)[0] == 0


def test_an_embedding_that_no_model_takes_is_refused(tmp_path: Path, voices: Path) -> None:
    np.save(tmp_path / "eve.npy", np.arange(5, dtype=np.float32))
    consent = ("--consent", CONSENT, "--embedding", tmp_path / "eve.npy")
    code, _, error = run("voice", "enroll", "eve", tmp_path / "ann.wav", *consent)
    assert code != 0
    assert "name one by --model" in error
    assert error.count("\n") == 1
    assert not voices.exists()
    wrong = ("--model", save_external(tmp_path / "external"), "--embedding", tmp_path / "x.npy")
    code, _, error = run("voice", "enroll", "eve", tmp_path / "ann.wav", "--consent", CONSENT, *wrong)
    assert code != 0
    assert "not a speaker embedding of 5 dimensions" in error
