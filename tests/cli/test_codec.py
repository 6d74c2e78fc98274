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
def sound(tmp_path: Path) -> Path:
    write_wav(tmp_path / "a.wav", synthetic_voice(81, 120)[:51_001])
    return tmp_path / "a.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_codec(tmp_path / "codec")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["codec", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_sound_goes_there_and_back_with_the_shipped_codec(sound: Path) -> None:
    code, said, _ = run("encode", sound)
    assert code == 0
    assert re.search(
        r"a.wav -> .*a.l2c: 3.19 s at 16000 Hz, 4 codebooks of 512 at 50 Hz, 1.8 kbit/s \(1.91 with the head, "
        r"760 bytes\), 0\.\d{3} x real time",
        said,
    ), said
    code, said, _ = run("decode", sound.with_suffix(".l2c"), "-o", sound.with_name("b.wav"))
    assert code == 0 and "b.wav: 3.19 s" in said
    assert soundfile.info(sound.with_name("b.wav")).frames == 51_001


def test_a_codecs_folder_and_a_models_folder_are_both_codecs(sound: Path, folder: Path) -> None:
    model = save_system(sound.parent / "model")
    assert run("encode", sound, "--codec", folder, "-o", sound.with_name("b.l2c"))[0] == 0
    assert run("encode", sound, "--codec", model, "-o", sound.with_name("c.l2c"))[0] == 0
    assert sound.with_name("b.l2c").read_bytes() == sound.with_name("c.l2c").read_bytes()


def test_fewer_books_make_a_smaller_file(sound: Path, folder: Path) -> None:
    code, said, _ = run("encode", sound, "--codec", folder, "--n-q", 1)
    assert code == 0 and "1 codebooks of 16 at 50 Hz, 0.2 kbit/s" in said
    code, _, error = run("encode", sound, "--codec", folder, "--n-q", 3, "--overwrite")
    assert (code, error.count("\n")) == (2, 1) and "n_q must be in 1..2" in error


def test_a_file_says_what_it_holds(sound: Path, folder: Path) -> None:
    run("encode", sound, "--codec", folder, "--quiet")
    code, said, _ = run("show", sound.with_suffix(".l2c"))
    assert code == 0
    assert re.search(r"a.l2c: 3.19 s at 16000 Hz, 2 codebooks of 16 at 50 Hz, .* codec [0-9a-f]{16}\n", said)


def test_a_file_names_the_size_of_every_book(sound: Path, tmp_path: Path) -> None:
    codec = save_sacodec(tmp_path / "sa")
    code, said, _ = run("encode", sound, "--codec", codec)
    assert code == 0 and "2 codebooks of 6 and 16 at 50 Hz, 0.35 kbit/s" in said  # 3 and 4 bits
    assert re.search(r"2 codebooks of 6 and 16 at 50 Hz", run("show", sound.with_suffix(".l2c"))[1])
    back = sound.with_name("b.wav")
    assert run("decode", sound.with_suffix(".l2c"), "--codec", codec, "-o", back)[0] == 0
    assert soundfile.info(back).frames == 51_001


def test_quiet_says_nothing(sound: Path, folder: Path) -> None:
    assert run("encode", sound, "--codec", folder, "--quiet") == (0, "", "")


def test_nothing_is_replaced_unasked(sound: Path, folder: Path) -> None:
    codes = sound.with_suffix(".l2c")
    codes.write_text("mine")
    code, _, error = run("encode", sound, "--codec", folder)
    assert (code, error.count("\n")) == (2, 1) and "already exists; pass --overwrite" in error
    assert codes.read_text() == "mine"
    assert run("encode", sound, "--codec", folder, "--overwrite")[0] == 0
    code, _, error = run("decode", codes, "--codec", folder)
    assert code == 2 and "a.wav: already exists" in error
    for wrong, why in (("b.mp3", "ends in .wav"), ("no/b.wav", "its folder does not exist")):
        code, _, error = run("decode", codes, "--codec", folder, "-o", sound.parent / wrong)
        assert (code, error.count("\n")) == (2, 1) and why in error


def test_the_input_is_never_the_output(sound: Path, folder: Path) -> None:
    named = sound.with_suffix(".l2c")
    sound.rename(named)
    before = named.read_bytes()
    code, _, error = run("encode", named, "--codec", folder, "--overwrite")
    assert (code, error.count("\n")) == (2, 1) and "is the input itself" in error
    assert named.read_bytes() == before


def test_wrong_inputs_are_one_line_and_leave_nothing(sound: Path, folder: Path) -> None:
    run("encode", sound, "--codec", folder, "--quiet")
    codes = sound.with_suffix(".l2c")
    cut = sound.with_name("cut.l2c")
    cut.write_bytes(codes.read_bytes()[:-3])
    held = sorted(path.name for path in sound.parent.iterdir())
    for source, why in (
        (sound, "holds no codes of ours"),
        (cut, "cut off or damaged"),
        (sound.with_name("none.l2c"), "No such file"),
        (codes, "was made by another codec"),
    ):
        other = "default" if source == codes else folder
        code, _, error = run("decode", source, "--codec", other, "-o", sound.with_name("b.wav"))
        assert (code, error.count("\n")) == (3, 1) and why in error, error
    code, _, error = run("encode", sound, "--codec", sound.parent, "-o", sound.with_name("b.l2c"))
    assert (code, error.count("\n")) == (5, 1) and "SHA256SUMS is missing" in error, error
    assert sorted(path.name for path in sound.parent.iterdir()) == held


def test_a_model_is_asked_for_its_own_codec(tmp_path: Path) -> None:
    from lip2speech.codecs import code_fingerprint, load_codec_from_model

    model = save_system(tmp_path / "model")
    assert code_fingerprint(load_codec_from_model(model)) == code_fingerprint(make_codec())
