"""`python -m preprocess`: exit codes and lines, and the `folder` corpus."""

from pathlib import Path

import pytest

from preprocess import folder
from preprocess.__main__ import CORPORA, main


def command(root: Path, out: Path, corpus: str = "folder") -> list[str]:
    return [corpus, "--root", str(root), "--out", str(out), "--workers", "0"]


def test_every_corpus_has_a_name() -> None:
    assert set(CORPORA) == {"grid", "talker", "folder"}


@pytest.mark.parametrize("corpus", ["grid", "talker", "folder"])
def test_a_missing_root_is_one_line(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "none", tmp_path / "out", corpus)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "none" in lines[0]
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_has_nothing_ready(tmp_path: Path) -> None:
    assert main(command(tmp_path, tmp_path / "out")) == 4


def test_a_broken_video_fails_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"not a video")
    assert main(command(tmp_path / "in", tmp_path / "out")) == 4
    captured = capsys.readouterr()
    assert captured.err.startswith("failed a: MediaError") and "1 failed" in captured.out


def test_a_folder_names_speakers_splits_and_words(tmp_path: Path) -> None:
    for name in ("test/ann/1.mp4", "ben/2.MP4", "3.webm", "ben/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ben/2.txt").write_text("Hello\n  World ")
    (tmp_path / "ben/2.wav").touch()
    found = {u.id: u for u in folder.utterances(tmp_path)}
    assert set(found) == {"test/ann/1", "ben/2", "3"}
    assert (found["test/ann/1"].speaker, found["test/ann/1"].split) == ("ann", "test")
    assert (found["ben/2"].text, found["ben/2"].wav) == ("hello world", tmp_path / "ben/2.wav")
    assert (found["3"].speaker, found["3"].split, found["3"].wav) == ("unknown", "train", None)
