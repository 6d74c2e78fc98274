"""The command run from a shell: start-up time, version, usage errors."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lip2speech import __version__

LIMIT_S = 0.5
"""Limit for the processor time of `lip2speech --help`: the fastest of five runs."""


def lip2speech(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lip2speech", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_help_takes_less_than_half_a_second() -> None:
    times = []
    for _ in range(5):
        start = cpu_seconds()
        result = lip2speech("--help")
        times.append(cpu_seconds() - start)
        assert result.returncode == 0, result.stderr
    assert min(times) < LIMIT_S, f"took {min(times):.2f} s"


def cpu_seconds() -> float:
    """Processor time of finished child processes, independent of the load of the machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; sys.argv = ['lip2speech', '--help']\n"
        "from lip2speech.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'av', 'mediapipe', 'cv2', 'yaml'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_an_unknown_attribute_of_the_package_is_an_error() -> None:
    import lip2speech

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        lip2speech.nonsense  # noqa: B018


def test_version_is_that_of_the_package() -> None:
    assert lip2speech("--version").stdout == f"lip2speech {__version__}\n"


def test_no_argument_prints_help_and_an_unknown_command_is_a_usage_error() -> None:
    result = lip2speech()
    assert "convert" in result.stdout + result.stderr
    assert lip2speech("nonsense").returncode == 2


def test_a_dry_run_validates_the_config(tmp_path: Path) -> None:
    config = tmp_path / "k.yaml"
    config.write_text("n_units: 7\n")
    result = lip2speech("train", "kmeans", str(config), "seed=3", "--out", str(tmp_path / "run"), "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "n_units: 7\n" in result.stdout
    assert "seed: 3\n" in result.stdout
    config.write_text("n_unit: 7\n")
    result = lip2speech("train", "kmeans", str(config), "--out", str(tmp_path / "run"), "--dry-run")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "unknown key 'n_unit'; did you mean n_units?" in result.stderr
