"""Every reader of untrusted files refuses malicious ones in one line and executes nothing."""

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
from tests.importers.malicious import CODE_EXECUTION, FILES, INCONSISTENT, RESOURCE_EXHAUSTION

PEAK = 48 << 20  # bytes allocated by Python and numpy: the file itself, and an error
ADDRESSES = 1 << 30  # bytes of address space for everything else
SECONDS = 10
ADVICE = ("weights_only", "allow_pickle", "trust", "torch.load(", "unsafe")


@pytest.fixture(scope="module")
def files() -> CodecCompressor:
    return CodecCompressor(make_codec())


def refusal(act: Callable[[], object]) -> str:
    """The line that a command would print."""
    with pytest.raises((ValueError, OSError)) as error:
        act()
    line = user_message(error.value)
    assert line is not None, error.value
    return line


def read(reader: str, path: Path, out: Path, files: CodecCompressor) -> object:
    """Open the file with this reader."""
    if reader == "folder":
        return load_codec_from_model(path)
    if reader == "codes":
        return files.decode(path, out / "a.wav")
    return read_embedding(str(path), 4) if reader == "vector" else IMPORTERS[reader](path, out / "model")


@contextmanager
def little_memory() -> Iterator[None]:
    """At most `ADDRESSES` of additional address space, and at most `PEAK` allocated by Python."""
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
@pytest.mark.parametrize("name", FILES)
def test_a_malicious_file_is_refused_in_one_line(
    name: str, files: CodecCompressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marked.py").write_text("open('MARK', 'w')")
    (tmp_path / "out").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    place = tmp_path / "given"
    place.mkdir()
    path = FILES[name].build(place)
    started = time.process_time()
    with little_memory():
        message = refusal(lambda: read(FILES[name].reader, path, tmp_path / "out", files))
    assert time.process_time() - started < SECONDS
    assert not list(tmp_path.rglob("MARK")), "the file was run"
    assert "marked" not in sys.modules, "a module was imported"
    assert not list((tmp_path / "out").iterdir()), "something was written"
    assert "\n" not in message, message
    assert len(message) < 700, message
    assert not any(word in message for word in ADVICE), message
    assert re.search(FILES[name].message, message), message


def test_names_of_the_files_are_unique() -> None:
    assert len(FILES) == len(CODE_EXECUTION) + len(RESOURCE_EXHAUSTION) + len(INCONSISTENT)
