"""What the command promises whatever the model is: exit codes, one line per error, no half-written file."""

import json
import os
import signal
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lip2speech.checkpoint import CheckpointError
from lip2speech.cli import app, convert
from lip2speech.cli.convert import exit_code
from lip2speech.confidence.calibration import Calibration
from lip2speech.pipeline import PipelineConfig
from lip2speech.video import FaceReport, MediaError, NoFaceError

SAMPLES = 16_000
VIDEOS = ("good.mp4", "noface.mp4", "broken.mp4", "bug.mp4", "stop.mp4")


@dataclass
class FakeSpeech:
    """Speaks one second of silence, unless the file's name says what goes wrong."""

    name: str = "fake"
    config: PipelineConfig = field(default_factory=PipelineConfig)
    confidence: tuple[float, ...] | None = None
    bits_per_code: float | None = None
    unsure: str = ""

    def speaker(self, voice: str | None) -> str:
        if voice not in (None, "own"):
            raise ValueError(f"no voice is called {voice!r}.")
        return "own"

    def check_route(self, route: str | None) -> str:
        if route not in (None, "mel"):
            raise ValueError(f"no route is called {route!r}.")
        return "mel"

    def convert_to(self, video: Path, wav: Path, **options: Any) -> SimpleNamespace:
        options["progress"](0.5)
        wav.write_bytes(b"half")
        problems: dict[str, Callable[[], BaseException]] = {
            "noface": lambda: NoFaceError(f"{video.name}: no face in 9 of 9 frames."),
            "broken": lambda: MediaError(f"{video.name}: damaged or incomplete."),
            "bug": lambda: KeyError("oops"),
            "stop": KeyboardInterrupt,
        }
        for word, problem in problems.items():
            if word in video.name:
                raise problem()
        with wave.open(str(wav), "wb") as file:
            file.setparams((1, 2, SAMPLES, SAMPLES, "NONE", ""))
            file.writeframes(bytes(2 * SAMPLES))
        report = FaceReport(name=video.name, frames=25, face_frames=24, no_face_segments=[(0.0, 0.04)])
        self.unsure = options["unsure"]
        return SimpleNamespace(
            report=report, route="mel", seconds=0.25, duration=1.0, sample_rate=SAMPLES,
            confidence=self.confidence, sure=self.confidence and sum(self.confidence) / len(self.confidence),
            bits_per_code=self.bits_per_code,
        )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in VIDEOS:
        (tmp_path / name).write_bytes(b"video")
    return tmp_path


@pytest.fixture
def speak(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `convert` on files of the folder, with the fake model."""
    monkeypatch.setattr(convert_module(), "load", lambda model, device: FakeSpeech())
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(app, ["convert", *arguments])


def convert_module() -> Any:
    import sys

    return sys.modules[convert.__module__]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {
        f"{n}.mp4" for n in ("good", "noface", "broken", "bug", "stop")
    }


def test_one_good_file_is_spoken(speak: Callable[..., Result], folder: Path) -> None:
    result = speak("good.mp4")
    assert result.exit_code == 0
    assert "good.mp4 -> good.wav: 1.00 s, face in 96 % of 25 frames, 1 gaps" in result.stdout
    assert result.stderr == ""
    assert names(folder) == {"good.wav"}
    with wave.open(str(folder / "good.wav")) as file:
        assert file.getnframes() == SAMPLES


def test_a_models_note_is_told_once_beside_the_results(
    speak: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = FakeSpeech(config=PipelineConfig(usage_note="knows one grammar."))
    monkeypatch.setattr(convert_module(), "load", lambda model, device: noted)
    result = speak("good.mp4", "--json", "-o", "a.wav")
    assert result.stderr == "lip2speech: model fake: knows one grammar.\n"
    assert len(result.stdout.splitlines()) == 1
    assert speak("good.mp4", "--quiet", "-o", "b.wav").stderr == ""


def test_json_is_one_line_per_input(speak: Callable[..., Result]) -> None:
    result = speak("--json", "good.mp4", "noface.mp4")
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good == {
        "input": "good.mp4", "output": "good.wav", "duration": 1.0, "frames": 25, "face_detection_rate": 0.96,
        "gaps": [[0.0, 0.04]], "model": "fake", "route": "mel", "rtf": 0.25, "confidence": None, "sure": None,
        "error": None, "code": 0,
    }  # fmt: skip
    assert bad["error"] == "noface.mp4: no face in 9 of 9 frames."
    assert (bad["output"], bad["code"]) == (None, 4)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> FakeSpeech:
    """A fake model that knows how sure it is; for `speak`, which is asked for before."""
    made = FakeSpeech(
        config=PipelineConfig(confidence=Calibration(0.0), confidence_threshold=0.6),
        confidence=(0.91234, 0.5, 0.59),
    )
    monkeypatch.setattr(convert_module(), "load", lambda model, device: made)
    return made


def test_how_sure_the_model_is_is_told(speak: Callable[..., Result], sure: FakeSpeech) -> None:
    assert "sure 67 %, not sure of 2 of 3 s" in speak("good.mp4", "-o", "a.wav").stdout
    row = json.loads(speak("good.mp4", "-o", "b.wav", "--json").stdout)
    assert (row["confidence"], row["sure"]) == ([0.912, 0.5, 0.59], 0.667)
    assert "bits_per_code" not in row
    sure.bits_per_code = 3.14159
    assert json.loads(speak("good.mp4", "-o", "d.wav", "--json").stdout)["bits_per_code"] == 3.142
    sure.confidence = (0.9, 0.8)
    assert speak("good.mp4", "-o", "c.wav").stdout.rstrip().endswith("sure 85 %")


def test_what_becomes_of_unsure_speech_is_chosen(speak: Callable[..., Result], sure: FakeSpeech) -> None:
    for chosen in ("speak", "tone", "silence"):
        assert speak("good.mp4", "--overwrite", "--unsure", chosen).exit_code == 0
        assert sure.unsure == chosen
    assert speak("good.mp4", "--overwrite").exit_code == 0 and sure.unsure == "speak"
    assert speak("good.mp4", "--overwrite", "--unsure", "mumble").exit_code == 2


def test_a_model_that_was_never_calibrated_says_so(speak: Callable[..., Result]) -> None:
    assert speak("good.mp4").stdout.rstrip().endswith("how sure is not known")
    result = speak("good.mp4", "--overwrite", "--unsure", "tone")
    assert result.exit_code == 2 and "never calibrated" in result.stderr


def test_one_bad_file_never_stops_the_rest(speak: Callable[..., Result], folder: Path) -> None:
    result = speak("broken.mp4", "noface.mp4", "good.mp4", "--quiet")
    assert result.exit_code == 3
    assert names(folder) == {"good.wav"}
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith("lip2speech: ") for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["noface.mp4"], 4),
        (["broken.mp4"], 3),
        (["noface.mp4", "broken.mp4"], 3),
        (["noface.mp4", "good.mp4"], 3),
        (["bug.mp4", "good.mp4"], 1),
        (["good.mp4", "good.mp4"], 2),
        (["good.mp4", "--voice", "missing.wav"], 2),
        (["good.mp4", "--route", "missing"], 2),
        (["good.mp4", "-o", "good.mp4"], 2),
        (["good.mp4", "--nonsense"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_tells_what_happened(speak: Callable[..., Result], files: list[str], code: int) -> None:
    result = speak(*files)
    assert result.exit_code == code
    assert "Traceback" not in result.output


def test_an_internal_error_is_said_to_be_ours(speak: Callable[..., Result]) -> None:
    assert "bug.mp4: internal error: KeyError: 'oops'; please report it." in speak("bug.mp4").stderr


def test_codes_of_many_inputs_become_one() -> None:
    assert [exit_code(codes) for codes in ([], [0], [0, 4], [4, 4], [3, 4], [0, 1, 4])] == [0, 0, 3, 4, 3, 1]


def test_a_failed_overwrite_keeps_the_old_file(speak: Callable[..., Result], folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"dear")
    assert speak("broken.mp4", "--overwrite").exit_code == 3
    assert (folder / "broken.wav").read_bytes() == b"dear"
    assert speak("good.mp4", "-o", "broken.wav").exit_code == 2
    assert (folder / "broken.wav").read_bytes() == b"dear"
    assert speak("good.mp4", "-o", "broken.wav", "--overwrite").exit_code == 0
    assert (folder / "broken.wav").read_bytes() != b"dear"
    assert names(folder) == {"broken.wav"}


def test_control_c_leaves_whole_files_only(speak: Callable[..., Result], folder: Path) -> None:
    result = speak("good.mp4", "stop.mp4", "noface.mp4")
    assert result.exit_code == 128 + signal.SIGINT
    assert result.stderr.splitlines()[-1] == "stopped."
    assert names(folder) == {"good.wav"}


def test_a_missing_model_is_code_5(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: str, device: str) -> None:
        raise CheckpointError(f"{model}: no such checkpoint folder.")

    monkeypatch.setattr(convert_module(), "load", fail)
    result = CliRunner().invoke(app, ["convert", str(folder / "good.mp4"), "--model", "nowhere"])
    assert result.exit_code == 5
    assert result.stderr == "lip2speech: nowhere: no such checkpoint folder.\n"


def test_a_strange_file_name_stays_on_one_line(speak: Callable[..., Result], folder: Path) -> None:
    name = os.fsdecode(b"noface\n\x1b[31m\xff.mp4")
    (folder / name).write_bytes(b"video")
    result = speak(name)
    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr


def test_an_output_folder_is_made_and_one_that_cannot_be_is_an_error(
    speak: Callable[..., Result], folder: Path
) -> None:
    assert speak("good.mp4", "-o", "a/b/c.wav").exit_code == 0
    assert (folder / "a/b/c.wav").is_file()
    result = speak("good.mp4", "-o", "noface.mp4/c.wav")
    assert result.exit_code == 2
    assert "lies in something that is no folder" in result.stderr


def test_a_failure_makes_no_folder(speak: Callable[..., Result], folder: Path) -> None:
    assert speak("noface.mp4", "-o", "new/folder").exit_code == 4
    assert names(folder) == set()
