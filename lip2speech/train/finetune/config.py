"""Config of multi-task fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

from lip2speech.data.augment import AugmentConfig
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import ModelConfig
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses.

    Attributes:
        mel: L1 distance of mels in standard deviations.
        spectral_convergence: of mels.
        estoi: one minus the correlation of mel bands over time.
        units: cross entropy of units.
        codes: cross entropy of codes given previous codebooks.
        independent_codes: cross entropy of codes by the independent head.
        pitch: L1 distance of log2 F0, plus a quarter of the cross entropy of voicing.
        ctc: CTC loss of characters by a linear head on the front end, used in training only.
        max_offset: largest audio-video offset tried for a clip, in mel frames; 0 disables the search.
        offset_penalty: mel L1 added per mel frame of offset.
        label_smoothing: of units and codes.
    """

    mel: float = 2.0
    spectral_convergence: float = 1.0
    units: float = 0.3
    codes: float = 0.3
    independent_codes: float = 0.1
    max_offset: int = 6
    offset_penalty: float = 0.002
    label_smoothing: float = 0.1
    estoi: float = 0.0
    pitch: float = 0.0
    ctc: float = 0.0


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning run.

    Attributes:
        train_data: folders of prepared clips.
        sampling_weights: probability of each folder in a batch; empty: in proportion to their clips.
        unit_tokenizer, codec_path: checkpoint folders that the targets are made with; empty for none.
        speaker_encoder: checkpoint folder; empty for the long-term average spectrum.
        init_from: checkpoint folder of a lip model or a front end.
        train_chunk_sizes: attention chunk sizes in frames, one drawn per step (0: the whole clip), so that
            one causal model serves every latency; empty: always the whole clip.
        trainable: prefixes of the names of trained parameters, which `init_from` may lack or have in another
            shape; empty: all parameters are trained, and `init_from` must have all of them.
        freeze_frontend_steps: steps before the front end is trained.
        frontend_lr_scale: multiplies the front end's learning rate.
        max_frames_per_batch: 0 draws trainer.batch_size random clips. Otherwise every clip comes once per
            epoch, in batches of similar length with at most this number of video frames, padding included.
        valid_clips: limit on the validation clips of each folder.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    transform: Transform = field(default_factory=Transform)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train_data: tuple[str, ...] = ()
    sampling_weights: tuple[float, ...] = ()
    unit_tokenizer: str = ""
    codec_path: str = ""
    speaker_encoder: str = ""
    init_from: str = ""
    train_chunk_sizes: tuple[int, ...] = ()
    trainable: tuple[str, ...] = ()
    freeze_frontend_steps: int = 0
    frontend_lr_scale: float = 1.0
    ema_decay: float = 0.998
    max_frames_per_batch: int = 0
    valid_clips: int = 64

    def __post_init__(self) -> None:
        if self.max_frames_per_batch and self.sampling_weights:
            raise ValueError(
                "with max_frames_per_batch every clip comes once per epoch; leave sampling_weights out."
            )
