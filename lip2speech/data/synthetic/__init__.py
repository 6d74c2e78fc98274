"""The synthetic talker: videos, with sound, of faces that say sentences of a closed grammar (extra `synth`).

`make_corpus` writes such a corpus, `utterances` reads it back, `audio_only` gives the sound alone.
"""

from lip2speech.data.synthetic.corpus import make_corpus, utterances
from lip2speech.data.synthetic.sample import make_sample
from lip2speech.data.synthetic.voices import synthesize_audio

__all__ = ["synthesize_audio", "make_corpus", "make_sample", "utterances"]
