"""A guard for tests of malicious files: nothing executed, little memory and time."""

import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

MEMORY_LIMIT = 48 << 20


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fail a test that creates the file MARK, imports a marked module, or takes much memory or time."""
    monkeypatch.chdir(tmp_path)
    for module in ("marked", "fairseq", "sentencepiece"):
        (tmp_path / f"{module}.py").write_text("open('MARK', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    there = set(sys.modules)  # of other tests in this process
    tracemalloc.start()
    started = time.process_time()
    yield
    used, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not (tmp_path / "MARK").exists(), "the file was run"
    assert not {"marked", "fairseq", "sentencepiece"} & (set(sys.modules) - there), "a module was imported"
    assert peak < MEMORY_LIMIT, f"{peak >> 20} MB were taken"
    assert used < 5, f"{used:.1f} s were spent"
