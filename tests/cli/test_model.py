"""`lip2speech model` (lip2speech/cli/model.py, import_model.py)."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lip2speech import checkpoint
from lip2speech.cli import app
from lip2speech.cli._errors import UsageError
from lip2speech.cli.import_model import parse_options
from lip2speech.importers import IMPORTERS
from tests.importers.encodec_golden import official, write_official
from tests.models.golden import FINETUNED, PRETRAINED


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["model", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_an_imported_encodec_encodes_audio(tmp_path: Path, tone: torch.Tensor) -> None:
    from lip2speech.audio.io import write_wav

    code, output, error = run("import", "encodec", write_official(tmp_path / "a.th"), tmp_path / "codec")
    assert code == 0, error
    assert f"codec: codec, {len(official())} tensors, 0.1 M parameters" in output
    assert "licence: " in output
    assert "dropped" not in output
    write_wav(tmp_path / "a.wav", tone[0, 0])
    result = CliRunner().invoke(
        app, ["codec", "encode", str(tmp_path / "a.wav"), "--codec", str(tmp_path / "codec")]
    )
    assert result.exit_code == 0
    assert "at 24000 Hz, 8 codebooks of 32 at 75 Hz, 3 kbit/s" in result.stdout


def test_dropped_tensors_are_reported(tmp_path: Path) -> None:
    code, output, _ = run("import", "avhubert", FINETUNED, tmp_path / "out", f"pretrained={PRETRAINED}")
    assert code == 0
    assert "out: avhubert, 182 tensors" in output
    assert "non-commercial" in output
    assert "dropped weights (32): decoder." in output
    assert "and 24 more; all are listed in README.md" in output
    assert checkpoint.load(tmp_path / "out").config["frontend"]["heads"] == 4


def test_options_become_the_importers_keyword_arguments(tmp_path: Path) -> None:
    assert run("import", "avhubert", FINETUNED, tmp_path / "out", "heads=4", "--fp16")[0] == 0
    weights = IMPORTERS["avhubert"]
    assert parse_options("avhubert", weights, ["heads=4", "pretrained=x.pt"]) == {
        "heads": 4,
        "pretrained": Path("x.pt"),
    }
    for words in (["heads=many"], ["head=4"], ["heads"], ["fp16=1"], ["heads=4", "heads=5"]):
        with pytest.raises(UsageError, match="heads"):
            parse_options("avhubert", weights, words)


@pytest.mark.parametrize("kind", IMPORTERS)
def test_every_importer_has_the_same_signature(kind: str) -> None:
    import inspect

    parameters = inspect.signature(IMPORTERS[kind]).parameters
    assert list(parameters)[:2] == ["source", "out"]
    assert {"overwrite", "fp16"} <= set(parameters)
    assert all(p.default is not p.empty for name, p in parameters.items() if name not in ("source", "out"))


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.th").write_bytes(b"hello")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    good = write_official(tmp_path / "b.th")
    for arguments, why in (
        (("bert", good, tmp_path / "out"), "no importer is called 'bert'; known: avhubert, encodec"),
        (("encodec", tmp_path / "a.th", tmp_path / "out"), "not a PyTorch file"),
        (("encodec", tmp_path / "none.th", tmp_path / "out"), "cannot be read"),
        (("avhubert", good, tmp_path / "out"), "not a fairseq checkpoint"),
        (("encodec", good, tmp_path / "out", "heads=2"), "kind encodec takes settings=..."),
        (("encodec", good, tmp_path / "mine", "--overwrite"), "letter.txt, so it is no checkpoint folder"),
    ):
        code, output, error = run("import", *arguments)
        assert code in (2, 5)
        assert output == ""
        assert error.count("\n") == 1, error
        assert why in error, error
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_the_bundled_models_are_listed_verified_and_described() -> None:
    assert run("list")[:2] == (0, "default\nlive\n")
    code, output, _ = run("verify", "live")
    assert code == 0
    assert output.endswith("live: ok\n")
    code, output, _ = run("info")
    assert code == 0
    assert output.startswith("# ")


def test_info_escapes_terminal_sequences_of_a_foreign_card(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", {}, {}, "# A\x1b[31m card\x07\n\n| a\tb |\u202e\n")
    code, output, _ = run("info", tmp_path / "m")
    assert code == 0
    assert output == "# A\\x1b[31m card\\x07\n\n| a     b |\\u202e\n"
