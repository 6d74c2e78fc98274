"""Vocoders that end in a codec's decoder: from predicted codes, or from a mel through the codec's encoder.

A phase-free codec (MelCodec) encodes the log-mel, so its encoder maps a predicted mel to the decoder's
latent; no second network is needed, and both vocoders share one decoder. The decoder's output is unbounded
and clipped here.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from lip2speech.codecs import Codec, MelCodec
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.base import Vocoder


class CodecDecoderVocoder(Vocoder):
    """Decodes predicted codes.

    Args:
        codec: the codec whose codes are predicted.
        codes: `conditional`: each codebook was predicted given those before; `independent`: each on its own.
    """

    def __init__(self, codec: Codec, codes: Literal["conditional", "independent"] = "conditional"):
        super().__init__()
        self.codec = codec
        self.sample_rate = codec.sample_rate
        self.needs = ("codes",) if codes == "conditional" else ("independent_code_logits",)

    def forward(self, prediction: Prediction) -> Tensor:
        """Codes -> wav (B, 1, 640 T)."""
        return self.codec.decode(self.codes(prediction)).clamp(-1, 1)

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        """Codes of the next frames -> wav of these frames, state."""
        wav, state = self.codec.decode_step(self.codes(prediction), state)
        return wav.clamp(-1, 1), state

    def codes(self, prediction: Prediction) -> Tensor:
        """The codes to decode, (B, n_q, T_c)."""
        field = prediction.require(self.needs[0])
        return field if self.needs == ("codes",) else field.argmax(2)


class CodecMelVocoder(Vocoder):
    """Passes the mel through the codec's encoder and decoder, without quantization."""

    needs = ("mel",)

    def __init__(self, codec: MelCodec):
        super().__init__()
        self.codec = codec
        self.sample_rate = codec.sample_rate

    def forward(self, prediction: Prediction) -> Tensor:
        """Mel -> wav (B, 1, 640 T)."""
        latent = self.codec.latent_from_mel(prediction.require("mel"))
        return self.codec.decode_latent(latent).clamp(-1, 1)

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        """Mel of the next frames -> wav of these frames, state."""
        encoder_state, decoder_state = (None, None) if state is None else state
        latent, encoder_state = self.codec.encoder.step(prediction.require("mel"), encoder_state)
        wav, decoder_state = self.codec.decode_latent_step(latent, decoder_state)
        return wav.clamp(-1, 1), (encoder_state, decoder_state)
