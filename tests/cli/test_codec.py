"""`lip2speech codec` (lip2speech/cli/codec.py)."""

import re
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from lip2speech.audio.io import write_wav
from lip2speech.cli import app
from tests.factories import make_codec, save_codec, save_sacodec, save_system, synthetic_voice


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    write_wav(tmp_path / "a.wav", synthetic_voice(81, 120)[:51_001])
    return tmp_path / "a.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_codec(tmp_path / "codec")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["codec", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_audio_round_trips_with_the_bundled_codec(audio: Path) -> None:
    code, stdout, _ = run("encode", audio)
    assert code == 0
    assert re.search(
        r"a.wav -> .*a.l2c: 3.19 s at 16000 Hz, 4 codebooks of 512 at 50 Hz, 1.8 kbit/s \(1.91 with the "
        r"header, 760 bytes\), 0\.\d{3} x real time",
        stdout,
    ), stdout
    code, stdout, _ = run("decode", audio.with_suffix(".l2c"), "-o", audio.with_name("b.wav"))
    assert code == 0
    assert "b.wav: 3.19 s" in stdout
    assert soundfile.info(audio.with_name("b.wav")).frames == 51_001


def test_codec_accepts_a_codec_folder_and_a_model_folder(audio: Path, folder: Path) -> None:
    model = save_system(audio.parent / "model")
    assert run("encode", audio, "--codec", folder, "-o", audio.with_name("b.l2c"))[0] == 0
    assert run("encode", audio, "--codec", model, "-o", audio.with_name("c.l2c"))[0] == 0
    assert audio.with_name("b.l2c").read_bytes() == audio.with_name("c.l2c").read_bytes()


def test_n_q_makes_a_smaller_file(audio: Path, folder: Path) -> None:
    code, stdout, _ = run("encode", audio, "--codec", folder, "--n-q", 1)
    assert code == 0
    assert "1 codebooks of 16 at 50 Hz, 0.2 kbit/s" in stdout
    code, _, error = run("encode", audio, "--codec", folder, "--n-q", 3, "--overwrite")
    assert (code, error.count("\n")) == (2, 1)
    assert "n_q must be in 1..2" in error


def test_info_prints_the_header(audio: Path, folder: Path) -> None:
    run("encode", audio, "--codec", folder, "--quiet")
    code, stdout, _ = run("info", audio.with_suffix(".l2c"))
    assert code == 0
    assert re.search(
        r"a.l2c: 3.19 s at 16000 Hz, 2 codebooks of 16 at 50 Hz, .* codec [0-9a-f]{16}\n", stdout
    )


def test_info_prints_the_size_of_every_codebook(audio: Path, tmp_path: Path) -> None:
    codec = save_sacodec(tmp_path / "sa")
    code, stdout, _ = run("encode", audio, "--codec", codec)
    assert code == 0
    assert "2 codebooks of 6 and 16 at 50 Hz, 0.35 kbit/s" in stdout
    assert re.search(r"2 codebooks of 6 and 16 at 50 Hz", run("info", audio.with_suffix(".l2c"))[1])
    back = audio.with_name("b.wav")
    assert run("decode", audio.with_suffix(".l2c"), "--codec", codec, "-o", back)[0] == 0
    assert soundfile.info(back).frames == 51_001


def test_quiet_prints_nothing(audio: Path, folder: Path) -> None:
    assert run("encode", audio, "--codec", folder, "--quiet") == (0, "", "")


def test_existing_outputs_are_not_replaced_without_overwrite(audio: Path, folder: Path) -> None:
    codes = audio.with_suffix(".l2c")
    codes.write_text("existing")
    code, _, error = run("encode", audio, "--codec", folder)
    assert (code, error.count("\n")) == (2, 1)
    assert "already exists; pass --overwrite" in error
    assert codes.read_text() == "existing"
    assert run("encode", audio, "--codec", folder, "--overwrite")[0] == 0
    code, _, error = run("decode", codes, "--codec", folder)
    assert code == 2
    assert "a.wav: already exists" in error
    for wrong, message in (("b.mp3", "must end in .wav"), ("no/b.wav", "its folder does not exist")):
        code, _, error = run("decode", codes, "--codec", folder, "-o", audio.parent / wrong)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_the_input_cannot_be_the_output(audio: Path, folder: Path) -> None:
    named = audio.with_suffix(".l2c")
    audio.rename(named)
    before = named.read_bytes()
    code, _, error = run("encode", named, "--codec", folder, "--overwrite")
    assert (code, error.count("\n")) == (2, 1)
    assert "is the input;" in error
    assert named.read_bytes() == before


def test_invalid_inputs_are_one_line_errors_and_leave_no_file(audio: Path, folder: Path) -> None:
    run("encode", audio, "--codec", folder, "--quiet")
    codes = audio.with_suffix(".l2c")
    cut = audio.with_name("cut.l2c")
    cut.write_bytes(codes.read_bytes()[:-3])
    before = sorted(path.name for path in audio.parent.iterdir())
    for source, message in (
        (audio, "is not a codes file"),
        (cut, "cut off or damaged"),
        (audio.with_name("none.l2c"), "No such file"),
        (codes, "comes from another codec"),
    ):
        other = "default" if source == codes else folder
        code, _, error = run("decode", source, "--codec", other, "-o", audio.with_name("b.wav"))
        assert (code, error.count("\n")) == (3, 1), error
        assert message in error
    code, _, error = run("encode", audio, "--codec", audio.parent, "-o", audio.with_name("b.l2c"))
    assert (code, error.count("\n")) == (5, 1), error
    assert "SHA256SUMS is missing" in error
    assert sorted(path.name for path in audio.parent.iterdir()) == before


def test_the_codec_of_a_model_folder_is_loaded(tmp_path: Path) -> None:
    from lip2speech.codecs import code_fingerprint, load_codec_from_model

    model = save_system(tmp_path / "model")
    assert code_fingerprint(load_codec_from_model(model)) == code_fingerprint(make_codec())
