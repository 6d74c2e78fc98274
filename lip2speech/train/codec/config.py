"""Config of codec training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lip2speech.codecs import codec_config
from lip2speech.config import to_dict
from lip2speech.discriminators import MPDConfig, MSDConfig, MSSTFTDConfig, STFTDConfig
from lip2speech.train.codec.data import CodecDataConfig
from lip2speech.train.codec.noise import NoiseConfig
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig


@dataclass(frozen=True)
class CodecTrainConfig:
    """One codec training run.

    Attributes:
        name: of the codec, a key of `CODECS`.
        codec: values that differ from the defaults of the codec's config.
        semantic_centroids: folder of a unit tokenizer whose centroids become SACodec's semantic codebook.
        noise: noise augmentation that trains the denoising of a codec; None: off.
        msstftd: multi-scale STFT discriminator; None: off, as for the other three.
        msd: multi-scale waveform discriminator.
        stftd: STFT discriminator.
        mpd: multi-period discriminator.
        disc_update_prob: probability of a discriminator update per step.
        quantizer_start_step: the quantizer is bypassed before this step.
        disc_start_step: the GAN losses are off before this step.
        freeze_encoder_step: from this step only the decoder learns, so that codes stay valid that another
            model has learned to predict.
        disc_lr: peak learning rate of the discriminators.
        disc_betas: of their AdamW.
        wave_weight: of the L1 of waveforms; off by default, as a phase-free encoder cannot lower it.
        mel_weight: of the multi-scale mel loss.
        spectral_weight: of the multi-resolution STFT loss.
        commit_weight: one for all codebooks, or one for each where the codec reports them separately
            (SACodec).
        adversarial_weight: of the generator's hinge loss.
        feature_weight: of feature matching.
        use_balancer: the weights, except `commit_weight`, are shares of the gradient at the output, not
            factors.
        balancer_decay: of the balancer's moving averages.
        ema_decay: of the averaged weights, which are validated and exported.
    """

    name: str = "melcodec"
    codec: dict[str, Any] = field(default_factory=dict)
    semantic_centroids: str = ""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=8e-4, betas=(0.8, 0.99)))
    data: CodecDataConfig = field(default_factory=CodecDataConfig)
    noise: NoiseConfig | None = None
    msstftd: MSSTFTDConfig | None = field(default_factory=MSSTFTDConfig)
    msd: MSDConfig | None = None
    stftd: STFTDConfig | None = None
    mpd: MPDConfig | None = None
    disc_update_prob: float = 1.0
    quantizer_start_step: int = 200
    disc_start_step: int = 20_000
    freeze_encoder_step: int = 20_000
    disc_lr: float = 3e-4
    disc_betas: tuple[float, float] = (0.8, 0.99)
    wave_weight: float = 0.0
    mel_weight: float = 0.0
    spectral_weight: float = 3.0
    commit_weight: float | tuple[float, ...] = 0.25
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    use_balancer: bool = False
    balancer_decay: float = 0.999
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        # Complete the codec's config, so that it is checked before any work and printed in full.
        object.__setattr__(self, "codec", to_dict(codec_config(self.name, self.codec)))
        if self.freeze_encoder_step <= self.quantizer_start_step:
            raise ValueError(
                "freeze_encoder_step must be greater than quantizer_start_step, got "
                f"{self.freeze_encoder_step} and {self.quantizer_start_step}; else the codebooks are never "
                "initialized."
            )
        if not 0 < self.disc_update_prob <= 1:
            raise ValueError(f"disc_update_prob must be above 0 and at most 1, got {self.disc_update_prob}.")
        if not any((self.wave_weight, self.mel_weight, self.spectral_weight)):
            raise ValueError(
                "there is no reconstruction loss; set wave_weight, mel_weight or spectral_weight."
            )

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss at the output, by its name in the log; losses of weight 0 are left out."""
        weights = {
            "loss/wave": self.wave_weight,
            "loss/mel": self.mel_weight,
            "loss/spectral": self.spectral_weight,
            "loss/adv": self.adversarial_weight,
            "loss/feat_match": self.feature_weight,
        }
        return {name: weight for name, weight in weights.items() if weight}
