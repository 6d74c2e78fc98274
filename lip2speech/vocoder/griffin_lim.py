"""Griffin-Lim: sound from a mel, nothing trained (Griffin and Lim 1984; momentum: Perraudin et al. 2013)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.functional import griffinlim

from lip2speech.mel import MelConfig, mel_to_linear
from lip2speech.prediction import Prediction
from lip2speech.vocoder.base import Vocoder

MOMENTUM = 0.99


class GriffinLim(Vocoder):
    """Estimates the phase of a predicted mel by alternating projections.

    Args:
        mel: the recipe of the mel it is given.
        iterations: projections; the gain beyond 32 is small.
    """

    needs = ("mel",)
    window: Tensor

    def __init__(self, mel: MelConfig | None = None, iterations: int = 32):
        super().__init__()
        self.mel = mel or MelConfig()
        self.iterations = iterations
        self.sample_rate = self.mel.sample_rate
        self.register_buffer("window", torch.hann_window(self.mel.win_length), persistent=False)

    def forward(self, prediction: Prediction) -> Tensor:
        mel = prediction.require("mel")  # (B, n_mels, F)
        c = self.mel
        linear = mel_to_linear(mel.float(), c)  # (B, n_fft // 2 + 1, F)
        linear = torch.cat([linear, linear[..., -1:]], -1)  # F + 1 centred frames span F hops
        wav = griffinlim(
            linear,
            window=self.window,
            n_fft=c.n_fft,
            hop_length=c.hop_length,
            win_length=c.win_length,
            power=c.power,
            n_iter=self.iterations,
            momentum=MOMENTUM,
            length=mel.shape[-1] * c.hop_length,
            rand_init=False,
        )
        shift = c.hop_length // 2  # frame i of the "same"-padded mel is centred half a hop after i * hop
        wav = torch.nn.functional.pad(wav, (shift, 0))[..., :-shift] if c.pad == "same" else wav
        return wav.clamp(-1, 1).unsqueeze(1)
