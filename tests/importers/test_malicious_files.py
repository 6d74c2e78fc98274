"""Malicious files at every door that takes a stranger's file: one line each, nothing run, no memory taken."""

import re
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lip2speech.cli._errors import user_message
from lip2speech.codecs import load_codec_from_model
from lip2speech.codecs.compress import CodecCompressor
from lip2speech.importers import IMPORTERS
from lip2speech.models.speaker_encoder.base import read_embedding
from tests.factories import make_codec
from tests.importers.malicious import GROWS, KINDS, LIES, RUNS

PEAK = 48 << 20  # bytes that Python and numpy may take: the file itself, and an error
ADDRESSES = 1 << 30  # bytes of address space that all the rest may ask for
SECONDS = 10
ADVICE = ("weights_only", "allow_pickle", "trust", "torch.load(", "unsafe")


@pytest.fixture(scope="module")
def files() -> CodecCompressor:
    return CodecCompressor(make_codec())


def refusal(act: Callable[[], object]) -> str:
    """What a command would print: the line for an error that a caller can cause."""
    with pytest.raises((ValueError, OSError)) as error:
        act()
    line = user_message(error.value)
    assert line is not None, error.value
    return line


def knock(door: str, path: Path, out: Path, files: CodecCompressor) -> object:
    """Give the file to what a command of this name would give it to."""
    if door == "folder":
        return load_codec_from_model(path)
    if door == "codes":
        return files.decode(path, out / "a.wav")
    return read_embedding(str(path), 4) if door == "vector" else IMPORTERS[door](path, out / "model")


@contextmanager
def little_memory() -> Iterator[None]:
    """No more than `ADDRESSES` beyond what the process has, and no more than `PEAK` of Python's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES, hard))
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert peak < PEAK, f"{peak >> 20} MB were taken"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the bound on memory is Linux's")
@pytest.mark.parametrize("kind", KINDS)
def test_a_malicious_file_is_refused_in_one_line(
    kind: str, files: CodecCompressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marked.py").write_text("open('MARK', 'w')")
    (tmp_path / "out").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    place = tmp_path / "given"
    place.mkdir()
    path = KINDS[kind].build(place)
    started = time.process_time()
    with little_memory():
        said = refusal(lambda: knock(KINDS[kind].door, path, tmp_path / "out", files))
    assert time.process_time() - started < SECONDS
    assert not list(tmp_path.rglob("MARK")), "the file was run"
    assert "marked" not in sys.modules, "a module was imported"
    assert not list((tmp_path / "out").iterdir()), "something was written"
    assert "\n" not in said, said
    assert len(said) < 700, said
    assert not any(word in said for word in ADVICE), said
    assert re.search(KINDS[kind].says, said), said


def test_the_kinds_are_many_and_no_two_are_one() -> None:
    assert len(KINDS) == len(RUNS) + len(GROWS) + len(LIES) >= 41
