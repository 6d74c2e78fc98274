"""Vocoders that end in a codec's SEANet decoder: from predicted codes, or from mel through its encoder.

A phase-free codec (MelCodec) encodes the log-mel itself, so its encoder without the quantiser is the adapter
from a predicted mel to the decoder's latent: no second network, and both routes share one decoder. That
decoder has no bound, so peaks beyond [-1, 1] are cut here.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from lip2speech.codecs.base import Codec
from lip2speech.codecs.melcodec import MelCodec
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.base import Vocoder


class CodecDecoderVocoder(Vocoder):
    """Codes to speech. `codes`: the books were predicted given each other, `independent`: each on its own."""

    def __init__(self, codec: Codec, books: Literal["conditional", "independent"] = "conditional"):
        super().__init__()
        self.codec = codec
        self.books = books
        self.sample_rate = codec.sample_rate
        self.needs = ("codes",) if books == "conditional" else ("independent_code_logits",)

    def forward(self, prediction: Prediction) -> Tensor:
        return self.codec.decode(self.codes(prediction)).clamp(-1, 1)

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        wav, state = self.codec.decode_step(self.codes(prediction), state)
        return wav.clamp(-1, 1), state

    def codes(self, prediction: Prediction) -> Tensor:
        """The books that were asked for, (B, n_q, T)."""
        if self.books == "conditional":
            return prediction.require("codes")
        return prediction.require("independent_code_logits").argmax(2)


class CodecMelVocoder(Vocoder):
    """Mel to speech: latent = codec encoder (mel), not quantised, then the codec's SEANet decoder."""

    needs = ("mel",)

    def __init__(self, codec: MelCodec):
        super().__init__()
        self.codec = codec
        self.sample_rate = codec.sample_rate

    def forward(self, prediction: Prediction) -> Tensor:
        latent = self.codec.latent_from_mel(prediction.require("mel"))
        return self.codec.decode_latent(latent).clamp(-1, 1)

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        encoder, decoder = (None, None) if state is None else state
        latent, encoder = self.codec.encoder.step(prediction.require("mel"), encoder)
        wav, decoder = self.codec.decode_latent_step(latent, decoder)
        return wav.clamp(-1, 1), (encoder, decoder)
