"""A real clip that all tests of the preparation share."""

from pathlib import Path

import pytest

from tests.preprocess.trees import talking


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """1.2 s of a drawn face with sound."""
    return talking(tmp_path_factory.mktemp("talk") / "talk.mp4", clip)
