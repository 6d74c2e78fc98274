"""The synthetic corpus: videos with audio of rendered faces that speak sentences of a closed grammar (extra
`synth`).

`make_corpus` writes a corpus, `utterances` reads it, `synthesize_audio` gives its audio without rendering.
"""

from lip2speech.data.synthetic.corpus import make_corpus, utterances
from lip2speech.data.synthetic.voices import synthesize_audio

__all__ = ["make_corpus", "synthesize_audio", "utterances"]
