"""A real clip shared by the tests of preprocessing."""

from pathlib import Path

import pytest

from tests.preprocess.trees import make_talking_clip


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """1.2 s of a drawn face with audio."""
    return make_talking_clip(tmp_path_factory.mktemp("talk") / "talk.mp4", clip)
