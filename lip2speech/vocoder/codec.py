"""Vocoders that end in a codec's SEANet decoder: from predicted codes, or from mel through its encoder.

A phase-free codec (MelCodec) encodes the log-mel itself, so its encoder without the quantiser is the adapter
from a predicted mel to the decoder's latent: no second network, and both routes share one decoder. That
decoder has no bound, so peaks beyond [-1, 1] are cut here.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lip2speech.codec.base import Codec
from lip2speech.codec.melcodec import MelCodec
from lip2speech.prediction import Prediction
from lip2speech.vocoder.base import Vocoder


class CodesVocoder(Vocoder):
    """Codes to speech. `codes`: the books were predicted given each other, `independent`: each on its own."""

    def __init__(self, codec: Codec, books: Literal["conditional", "independent"] = "conditional"):
        super().__init__()
        self.codec = codec
        self.books = books
        self.sample_rate = codec.sample_rate
        self.needs = ("codes",) if books == "conditional" else ("independent_code_logits",)

    def forward(self, prediction: Prediction) -> Tensor:
        if self.books == "conditional":
            codes = prediction.require("codes")
        else:
            codes = prediction.require("independent_code_logits").argmax(2)
        return self.codec.decode(codes).clamp(-1, 1)


class MelVocoder(Vocoder):
    """Mel to speech: latent = codec encoder (mel), not quantised, then the codec's SEANet decoder."""

    needs = ("mel",)

    def __init__(self, codec: MelCodec):
        super().__init__()
        self.codec = codec
        self.sample_rate = codec.sample_rate

    def forward(self, prediction: Prediction) -> Tensor:
        latent = self.codec.latent_from_mel(prediction.require("mel"))
        return self.codec.decode_latent(latent).clamp(-1, 1)
