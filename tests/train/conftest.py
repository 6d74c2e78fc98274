"""A prepared folder and tiny configs for the training tests."""

from pathlib import Path

import pytest

from tests.factories import prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training clips and two for validation, two speakers, 14 to 20 frames."""
    return prepare(tmp_path_factory.mktemp("prepared") / "clips", splits="train " * 5 + "valid valid")
