"""Configuration of the demo (lip2speech/web/app.py)."""

from lip2speech.web.app import default_streaming_model


def test_the_default_model_streams_with_its_causal_counterpart_and_any_other_with_itself() -> None:
    assert default_streaming_model("default") == "live"
    assert default_streaming_model("runs/mine") == "runs/mine"
