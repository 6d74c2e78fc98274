"""`python -m preprocess`: exit codes and lines, what a run shows, and the `folder` corpus."""

from pathlib import Path

import pytest

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess import folder
from preprocess.__main__ import main
from preprocess.index import IndexRow, read_index
from preprocess.job import CORPORA
from preprocess.progress import printable, report


def command(root: Path, out: Path, *more: str, corpus: str = "folder") -> list[str]:
    return [corpus, "--root", str(root), "--out", str(out), "--workers", "0", *more]


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_a_missing_root_is_one_line(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "none", tmp_path / "out", corpus=corpus)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "none" in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--num-shards", "2", "--shard-index", "2"],
            "--shard-index must be 0 .. --num-shards - 1, got 2 and 2",
        ),
        (["--num-shards", "0"], "--shard-index must be"),
        (["--workers", "-1"], "--workers must be 0 or more"),
        (["--timeout", "0"], "--timeout above 0"),
        (["--units", "none"], "none: no such checkpoint folder"),
        (["--option", "x"], "KEY=VALUE"),
        (["--option", "x=1"], "local executor takes no option"),
        (["--list", "none.txt"], "none.txt"),
    ],
)
def test_a_wrong_option_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, tmp_path / "out", *options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_has_nothing_ready(tmp_path: Path) -> None:
    assert main(command(tmp_path, tmp_path / "out")) == 4


def test_a_broken_video_fails_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"not a video")
    assert main(command(tmp_path / "in", tmp_path / "out")) == 4
    captured = capsys.readouterr()
    assert captured.err.startswith("failed a: MediaError") and "1 failed" in captured.out


def test_a_run_goes_on_where_the_last_one_ended(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.mp4").write_bytes(talk.read_bytes())
    (root / "b.mp4").write_bytes(b"not a video")
    assert main(command(root, tmp_path / "out", "--mel")) == 3
    assert "2/2 clips: 1 done, 0 kept, 0 skipped, 1 failed" in capsys.readouterr().out
    (root / "b.mp4").unlink()
    assert main(command(root, tmp_path / "out", "--mel")) == 0
    assert "1/1 clips: 0 done, 1 kept" in capsys.readouterr().out
    assert main(command(root, tmp_path / "out")) == 0
    assert "1/1 clips: 1 done" in capsys.readouterr().out
    assert read_index(tmp_path / "out")["a"].n_frames == 30


def test_a_folder_names_speakers_splits_and_words(tmp_path: Path) -> None:
    for name in ("test/ann/1.mp4", "ben/2.MP4", "3.webm", "ben/notes.md", "ben/4.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ben/2.txt").write_text("Hello\n  World ")
    (tmp_path / "ben/2.wav").touch()
    (tmp_path / "ben/4.txt").symlink_to("/etc/passwd")
    clips = {clip.id: clip for clip in folder.utterances(tmp_path)}
    assert isinstance(refused := clips.pop("ben/4"), RejectedClip) and "4.txt is a link" in refused.reason
    found = {name: clip for name, clip in clips.items() if isinstance(clip, Utterance)}
    assert set(found) == {"test/ann/1", "ben/2", "3"}
    assert (found["test/ann/1"].speaker, found["test/ann/1"].split) == ("ann", "test")
    assert (found["ben/2"].text, found["ben/2"].wav) == ("hello world", tmp_path / "ben/2.wav")
    assert (found["3"].speaker, found["3"].split, found["3"].wav) == ("unknown", "train", None)


def test_a_terminal_gets_a_bar_and_lines_that_cannot_steer_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    rows = [IndexRow("a", "", "", "", "done"), IndexRow("b\x1b[2J", "", "", "", "failed", "[bold]no\x07")]
    assert report(iter(rows), 3) == {"done": 1, "failed": 1}
    captured = capsys.readouterr()
    assert "failed b\\x1b[2J: [bold]no\\x07" in captured.err
    assert "2/3" in captured.err and "clips/s" in captured.err
    assert captured.out.startswith("2/3 clips: 1 done, 0 kept, 0 skipped, 1 failed; ")


def test_odd_signs_of_a_name_are_shown_not_sent() -> None:
    assert printable("a\x1b[2J\nb\udcff") == "a\\x1b[2J\\nb\\udcff"
