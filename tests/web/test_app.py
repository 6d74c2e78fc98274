"""How the page is set up (lip2speech/web/app.py)."""

from lip2speech.web.app import live_form


def test_the_shipped_model_has_a_live_form_and_any_other_speaks_for_itself() -> None:
    assert live_form("default") == "live"
    assert live_form("runs/mine") == "runs/mine"
