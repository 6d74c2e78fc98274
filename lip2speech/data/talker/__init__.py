"""The synthetic talker: videos of faces that say sentences of a closed grammar, with their sound (extra `talker`).

`make_corpus` writes such a corpus, `utterances` reads it back, `audio_only` gives the sound alone.
"""

from .corpus import make_corpus, utterances
from .voices import audio_only

__all__ = ["audio_only", "make_corpus", "utterances"]
