"""Losses of all training tasks: plain functions, or modules without weights.

To add one: write it in a file here with its source in the docstring, re-export it below, give it a weight in
the config of the task that uses it (`train/*/`), and test it against a known answer in `tests/losses/`.
"""

from lip2speech.losses.estoi import ESTOILoss
from lip2speech.losses.gan import adversarial_loss, discriminator_loss, feature_matching_loss
from lip2speech.losses.offset import best_offsets, time_shift
from lip2speech.losses.pitch import pitch_loss
from lip2speech.losses.spectral import MultiResolutionSTFTLoss, MultiScaleMelLoss, mel_loss
from lip2speech.losses.tokens import ctc_loss, token_loss
from lip2speech.losses.waveform import si_sdr

__all__ = [
    "ESTOILoss",
    "MultiResolutionSTFTLoss",
    "MultiScaleMelLoss",
    "adversarial_loss",
    "best_offsets",
    "ctc_loss",
    "discriminator_loss",
    "feature_matching_loss",
    "mel_loss",
    "pitch_loss",
    "si_sdr",
    "time_shift",
    "token_loss",
]
