"""The demo as a public Space (demo/app.py)."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lip2speech.video import read_frames
from lip2speech.web.app import ServerConfig, create_app
from lip2speech.web.storage import TempFileStore

SPACE = Path(__file__).parents[2] / "demo"
MAX_EXAMPLE_BYTES = 150_000


@pytest.fixture(scope="module")
def config() -> ServerConfig:
    made = runpy.run_path(str(SPACE / "app.py"))["CONFIG"]
    assert isinstance(made, ServerConfig)
    return made


@pytest.fixture
def client(config: ServerConfig) -> Iterator[TestClient]:
    storage = TempFileStore()
    with TestClient(create_app(config, storage)) as running:
        yield running
    storage.close()


def test_a_public_demo_stores_no_voices_and_can_be_embedded(client: TestClient) -> None:
    page = client.get("/", headers={"Host": "me-lip2speech.hf.space"})
    assert page.status_code == 200
    assert "frame-ancestors https://huggingface.co;" in page.headers["content-security-policy"]
    components = client.get("/config").json()["components"]
    tabs = [component["props"]["id"] for component in components if component["type"] == "tabitem"]
    assert tabs == ["live", "convert"]
    (intro,) = [c["props"]["value"] for c in components if c["props"].get("elem_id") == "intro"]
    assert "l2s_intro_hosted" in intro


def test_the_examples_are_small_silent_videos(config: ServerConfig) -> None:
    import av

    assert len(config.examples) >= 2
    for path in config.examples:
        assert path.stat().st_size < MAX_EXAMPLE_BYTES
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
        with read_frames(path) as frames:
            assert sum(1 for _ in frames) > 50


def test_the_front_matter_starts_the_app() -> None:
    front_matter = (SPACE / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "sdk: gradio" in front_matter
    assert "app_file: app.py" in front_matter
    assert "license: apache-2.0" in front_matter
    assert "lip2speech[demo]" in (SPACE / "requirements.txt").read_text(encoding="utf-8")
