"""lip2speech: speech from silent video of a talking face.

The public name is `Lip2Speech`; it is fetched when first asked for, so importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lip2speech.version import __version__

if TYPE_CHECKING:
    from lip2speech.pipeline import Lip2Speech

__all__ = ["Lip2Speech", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Lip2Speech":
        from lip2speech.pipeline import Lip2Speech

        return Lip2Speech
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
