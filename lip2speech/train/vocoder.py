"""Training of a WaveNet on prepared clips: the bits it takes to tell each sample, given mel, voice and past.

van den Oord et al. 2016 (see `vocoder/wavenet.py`). It learns from mels of real sound and will be given mels
that lips predict, which are blurred and noisy; `blur` and `noise` make the mels it learns from alike.
Segments begin in mid-speech, yet what was before them is silence to the network, as at a clip's beginning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import MIN_FRAMES, another_clip, by_speaker, read_clips
from lip2speech.data.targets import TargetMaker
from lip2speech.heads import MEL_RATE
from lip2speech.mel import MelConfig
from lip2speech.rates import per_video_frame
from lip2speech.speaker import SpeakerModel, load_speaker_model
from lip2speech.train.loop import Average, LoopConfig, Optimizer, OptimizerConfig, Task, autocast
from lip2speech.train.parts import WHOLE, Part, seed_step
from lip2speech.train.stand_ins import StandIns
from lip2speech.vocoder.load import KIND
from lip2speech.vocoder.wavenet import NAME, WaveNet, WaveNetConfig, mu_law_encode

HELD_OUT = 16  # segments that validation looks at
MIN_STD = 1e-2  # nats; a mel band that never changes must not be divided by nothing


@dataclass(frozen=True)
class VocoderTrainConfig:
    """One training run.

    folders: prepared clips; speaker: folder of the encoder that hears voices, empty: their long-term
    spectrum; frames: of mel that a segment has; blur: the widest Gaussian over the mel, its deviation in
    frames and bands; noise: the largest deviation of what is added to it, in nats. Each segment gets its own
    share of both.
    """

    wavenet: WaveNetConfig = field(default_factory=WaveNetConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(weight_decay=0.0))
    folders: tuple[str, ...] = ()
    speaker: str = ""
    frames: int = 50
    blur: float = 0.0
    noise: float = 0.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.blur, self.noise) < 0:
            raise ValueError(
                "frames must be 1 or more, blur and noise 0 or more, got "
                f"{self.frames}, {self.blur} and {self.noise}."
            )
        if self.wavenet.mel != MelConfig():
            raise ValueError(
                f"prepared clips are told by the mel recipe {MelConfig()}, the WaveNet's is "
                f"{self.wavenet.mel}; leave wavenet.mel as it is."
            )


class Sounds:
    """The sound, mel and voice of all clips of a split that are long enough for a segment, in memory."""

    def __init__(self, config: VocoderTrainConfig, split: str, speakers: SpeakerModel):
        needed = math.ceil(config.frames / per_video_frame(MEL_RATE))
        self.clips = read_clips(config.folders, split, min_frames=max(MIN_FRAMES, needed))
        self.frames, self.hop_length = config.frames, config.wavenet.mel.hop_length
        maker = TargetMaker(None, None, speakers=speakers)
        self.targets = [maker(clip) for clip in self.clips]
        self.voices = [t.speaker for t in self.targets]
        self.wavs = [clip.tensors()["wav"] for clip in self.clips]
        self.groups = by_speaker(self.clips)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random segments: wav (count, T_a), mel (count, 80, frames), voices (count, S) of other clips."""
        chosen = rng.choice(len(self.clips), count, replace=count > len(self.clips))
        rows = [self.segment(int(i), rng) for i in chosen]
        voices = [self.voices[another_clip(self.clips, self.groups, int(i), rng)] for i in chosen]
        wavs, mels = zip(*rows, strict=True)
        return torch.stack(wavs), torch.stack(mels), torch.stack(voices)

    def segment(self, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A random stretch of one clip: wav (hop_length * frames,), mel (80, frames)."""
        mel, hop_length = self.targets[i].mel, self.hop_length
        start = int(rng.integers(mel.shape[1] - self.frames + 1))
        wav = self.wavs[i][start * hop_length : (start + self.frames) * hop_length]
        return wav.float() / 32768.0, mel[:, start : start + self.frames].float()

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each mel band, (80,)."""
        mel = torch.cat([t.mel.float() for t in self.targets], 1)
        return mel.mean(1), mel.std(1).clamp_min(MIN_STD)


class WaveNetTask(Task):
    """The network, its average, one optimiser."""

    def __init__(self, config: VocoderTrainConfig):
        self.config = config
        torch.manual_seed(config.loop.seed)
        self.speakers = load_speaker_model(config.speaker)
        if config.wavenet.speaker_dim not in (0, self.speakers.dim):
            raise ValueError(
                f"wavenet.speaker_dim is {config.wavenet.speaker_dim}, voices are heard as "
                f"{self.speakers.dim} numbers; give that, or 0 for no voice."
            )
        self.train_set = Sounds(config, "train", self.speakers)
        self.held_out = Sounds(config, "valid|test", self.speakers)
        self.wavenet = WaveNet(config.wavenet)
        mean, std = self.train_set.statistics()
        self.wavenet.mel_mean.copy_(mean)
        self.wavenet.mel_std.copy_(std)
        self.opt = Optimizer(self.wavenet.parameters(), config.optimizer, config.loop.steps)
        self.average = Average(self.wavenet, config.ema)

    def update(self, step: int, part: Part = WHOLE) -> dict[str, float]:
        rng = seed_step(self.config.loop.seed, step, part)
        drawn = self.train_set.draw(part.count * self.config.loop.batch_size, rng)
        wav, mel, speaker = map(part.of, drawn)
        mel = smear(mel, self.config.blur, self.config.noise)
        self.wavenet.train()
        bits = bits_per_sample(self.wavenet, wav, mel, speaker, self.config.loop.precision)
        logs = {"bits": bits.item(), "grad": self.opt.apply(bits * math.log(2), step, part)}
        self.average.update(self.wavenet, part)
        return logs | {"skipped": self.opt.skipped}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits for a sample of held-out speech, by the averaged network; the same segments every time."""
        wavenet = self.averaged()
        drawn = self.held_out.draw(HELD_OUT, np.random.default_rng(1))
        single = zip(*(x.split(1) for x in drawn), strict=True)  # all at once take too much memory
        bits = float(np.mean([bits_per_sample(wavenet, *row).item() for row in single]))
        return {"bits": bits, "loss": bits}

    def averaged(self) -> WaveNet:
        """The network with averaged weights, in eval mode."""
        wavenet = WaveNet(self.config.wavenet)
        wavenet.load_state_dict(self.average.values)
        return wavenet.eval()

    def state(self) -> dict[str, Any]:
        average = {"values": self.average.values, "count": self.average.count}
        return {"wavenet": self.wavenet.state_dict(), "average": average, "opt": self.opt.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.wavenet.load_state_dict(state["wavenet"])
        self.average.values, self.average.count = state["average"]["values"], state["average"]["count"]
        self.opt.load_state(state["opt"])

    @classmethod
    def stand_ins(cls, config: VocoderTrainConfig, made: StandIns) -> VocoderTrainConfig:
        clips = made.clips(frames=config.frames // per_video_frame(MEL_RATE) + 1)
        speaker = made.speaker(config.speaker, config.wavenet.speaker_dim)
        return replace(config, folders=(clips,), speaker=speaker)

    def export(self, folder: Path) -> None:
        config = {
            "kind": KIND,
            "name": NAME,
            "vocoder": to_dict(self.config.wavenet),
            "speaker": self.speakers.fingerprint,
        }
        card = (
            "# WaveNet\nFrom mel and voice to sound, trained by `lip2speech train vocoder` on "
            f"{len(self.train_set.clips)} clips; {self.validate()['bits']:.3f} bits for a sample of "
            "speech that was held out.\n"
        )
        checkpoint.save(folder, config, self.averaged().state_dict(), card, overwrite=True)


def bits_per_sample(
    wavenet: WaveNet, wav: Tensor, mel: Tensor, speaker: Tensor, precision: str = "fp32"
) -> Tensor:
    """What it takes to tell each class: wav (B, T_a), mel (B, 80, F), speaker (B, S) -> ()."""
    codes = mu_law_encode(wav, wavenet.config.classes)
    with autocast(precision, wav.device):
        logits = wavenet.logits(codes, mel, speaker)
    return F.cross_entropy(logits.float(), codes) / math.log(2)


def smear(mel: Tensor, blur: float, noise: float) -> Tensor:
    """Mels (B, n_mels, F) as lips predict them: each blurred up to `blur`, with noise up to `noise`."""
    if blur:
        rows = [gaussian(row, blur * float(torch.rand(()))) for row in mel]
        mel = torch.stack(rows)
    return mel + noise * torch.rand(len(mel), 1, 1) * torch.randn_like(mel) if noise else mel


def gaussian(mel: Tensor, deviation: float) -> Tensor:
    """(n_mels, F) blurred over bands and frames alike; its edges go on as they are."""
    reach = math.ceil(3 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(deviation, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mel[None, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None])[0, 0]
