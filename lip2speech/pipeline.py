"""The pipeline: a silent video in, speech out.

    video file -> frames -> faces -> mouth crops -> windows -> Prediction -> waveform -> one audio stream

`Lip2Speech.stream` is that line, top to bottom. Long videos run in overlapping windows that are cross-faded
where the speech is quietest, so memory does not grow with the video. For frames from a camera see
`streaming`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.audio.io import audio_writer, read_wav
from lip2speech.audio.mel import MelConfig
from lip2speech.components import (
    code_prior_from_checkpoint,
    model_from_checkpoint,
    speaker_encoder_from_checkpoint,
    vocoders_from_checkpoint,
)
from lip2speech.confidence.calibration import Calibration
from lip2speech.confidence.features import FrameFeatures, confidence_features
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS, per_video_frame
from lip2speech.models.code_prior import CodePrior, CodePriorState, bits_per_code
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder, read_embedding
from lip2speech.pretrained import resolve_model_path
from lip2speech.synthesis import AudioChunk, PostProcessor, ScoreSummary, SynthesisOptions, SynthesisResult
from lip2speech.utils.device import choose_device
from lip2speech.video import crop_mouths, read_frames, track_faces
from lip2speech.video.crop import MouthCrop
from lip2speech.voices.store import list_voices, load_voice
from lip2speech.windows import WindowJoiner, windows

Progress = Callable[[float], None]
"""Called with the share of the video that is done, 0..1."""

MAX_WINDOW_FRAMES = 100_000
"""Over an hour; a larger number would only hold the whole video in memory."""


@dataclass(frozen=True)
class PipelineConfig:
    """How a model is run.

    Attributes:
        vocoder: the default one.
        default_voice: a stored voice; may be empty in a folder without voices, then the caller gives one.
        window_frames, overlap_frames: windows of long videos, in video frames.
        usage_note: what its user must know (the bundled model: that it knows one small grammar).
        confidence: written by `lip2speech calibrate`; without it the model has no confidence.
        confidence_threshold: confidence below which a second of speech may be replaced.
    """

    vocoder: str = "mel"
    default_voice: str = ""
    window_frames: int = 150
    overlap_frames: int = 50
    usage_note: str = ""
    confidence: Calibration | None = None
    confidence_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.window_frames > MAX_WINDOW_FRAMES:
            raise ValueError(f"window_frames must be {MAX_WINDOW_FRAMES} or less, got {self.window_frames}.")
        if not 0 <= self.overlap_frames < self.window_frames:
            raise ValueError(
                f"overlap_frames must be 0 .. window_frames - 1, got {self.overlap_frames} and "
                f"window_frames {self.window_frames}."
            )
        if not 0 <= self.confidence_threshold <= 1:
            raise ValueError(f"confidence_threshold must be 0 to 1, got {self.confidence_threshold}.")

    def post_processor(
        self, low_confidence: LowConfidenceMode, history_s: int | None = None
    ) -> PostProcessor:
        """A fresh post-processor. ValueError: `low_confidence` needs a calibration that the model lacks."""
        if low_confidence != "keep" and self.confidence is None:
            raise ValueError(
                f"low_confidence {low_confidence!r} needs a model with a calibration, and this one has none; "
                "run `lip2speech calibrate` on it, or choose keep."
            )
        return PostProcessor(self.confidence, self.confidence_threshold, low_confidence, history_s)


@dataclass
class Lip2Speech:
    """A model with its vocoders and voices, ready for inference.

    model = Lip2Speech.from_pretrained("default")
    result = model.convert("talk.mp4")
    """

    name: str
    model: LipModel
    vocoders: dict[str, torch.nn.Module]
    transform: Transform
    voices: dict[str, Tensor]
    config: PipelineConfig = field(default_factory=PipelineConfig)
    speaker_encoder: SpeakerEncoder = field(default_factory=LTASSpeakerEncoder)
    mel: MelConfig = field(default_factory=MelConfig)
    code_prior: CodePrior | None = None

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str] = "default", device: str = "auto") -> Lip2Speech:
        """Load a bundled model by name, or any model folder.

        Raises:
            CheckpointError: the folder is missing, damaged, or holds something else.
            ValueError: unknown device.
        """
        return cls.from_checkpoint(checkpoint.load(resolve_model_path(model)), device)

    @classmethod
    def from_checkpoint(cls, loaded: checkpoint.Checkpoint, device: str = "auto") -> Lip2Speech:
        """Build the model that a checkpoint describes; raises as `from_pretrained`."""
        where, values = choose_device(device), loaded.config
        loaded.require("lip2speech")
        try:
            model = model_from_checkpoint(loaded)
            mel = from_dict(MelConfig, values["mel"], "mel")
            vocoders = vocoders_from_checkpoint(loaded, model.config.heads, mel)
            transform = from_dict(Transform, values["transform"], "transform")
            config = from_dict(PipelineConfig, values["inference"], "inference")
            speaker_encoder = speaker_encoder_from_checkpoint(loaded)
            code_prior = code_prior_from_checkpoint(loaded, model.config.heads, mel, speaker_encoder)
        except checkpoint.CheckpointError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise checkpoint.CheckpointError(f"{loaded.folder}: its config is wrong ({error}).") from error
        built = cls(
            name=loaded.folder.resolve().name,
            model=model.to(where),
            vocoders={name: vocoder.to(where) for name, vocoder in vocoders.items()},
            transform=transform,
            voices={k: v.to(where) for k, v in loaded.subset("voice.").items()},
            config=config,
            speaker_encoder=speaker_encoder,
            mel=mel,
            code_prior=None if code_prior is None else code_prior.to(where),
        )
        built._check(loaded.folder)
        return built

    def _check(self, folder: Path) -> None:
        """CheckpointError: the config names parts that the folder lacks."""
        config = self.config
        no_voice = not config.default_voice and not self.voices
        if config.vocoder not in self.vocoders or not (no_voice or config.default_voice in self.voices):
            raise checkpoint.CheckpointError(
                f"{folder}: its default vocoder {config.vocoder!r} or voice {config.default_voice!r} is "
                f"not in it (vocoders {', '.join(self.vocoder_names)}; voices {', '.join(self.voices)})."
            )
        if config.confidence is not None and config.confidence.code_nll and self.code_prior is None:
            raise checkpoint.CheckpointError(
                f"{folder}: was calibrated with a code prior that is not in it; calibrate it again."
            )

    @property
    def vocoder_names(self) -> list[str]:
        """What `SynthesisOptions.vocoder` may be."""
        return list(self.vocoders)

    @property
    def sample_rate(self) -> int:
        """Of every waveform, in Hz."""
        return SAMPLE_RATE

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def convert(
        self,
        video: str | os.PathLike[str],
        options: SynthesisOptions = SynthesisOptions(),
        progress: Progress | None = None,
    ) -> SynthesisResult:
        """Synthesize the speech of a silent talking-face video.

        Raises:
            MediaError: the video cannot be read.
            NoFaceError: a face in too few of its frames.
            ValueError: unknown vocoder or voice, or `low_confidence` needs a calibration.
        """
        pieces: list[Tensor] = []
        return self._collect(video, options, progress, pieces.append, lambda: torch.cat(pieces))

    def convert_to_file(
        self,
        video: str | os.PathLike[str],
        out: str | os.PathLike[str],
        options: SynthesisOptions = SynthesisOptions(),
        progress: Progress | None = None,
    ) -> SynthesisResult:
        """`convert` straight to an audio file, in memory that does not grow with the video.

        The suffix of `out`, one of `AUDIO_SUFFIXES`, decides the format.

        Raises:
            OSError: names `out`; the disk is full, or the file cannot be written.
        """
        with audio_writer(out, self.sample_rate) as write:
            return self._collect(video, options, progress, write)

    def _collect(
        self,
        video: str | os.PathLike[str],
        options: SynthesisOptions,
        progress: Progress | None,
        write: Callable[[Tensor], Any],
        whole: Callable[[], Tensor | None] = lambda: None,
    ) -> SynthesisResult:
        """Write the chunks of `stream` one by one, and sum up what they say of the video."""
        started = time.perf_counter()
        summary = ScoreSummary(calibrated=self.config.confidence is not None)
        for chunk in self.stream(video, options, progress):
            write(chunk.wav)
            summary.add(chunk)
        assert chunk.report is not None
        return SynthesisResult(
            wav=whole(),
            report=chunk.report,
            model=self.name,
            vocoder=self.resolve_vocoder(options.vocoder),
            elapsed_s=time.perf_counter() - started,
            **summary.finish(),
        )

    def stream(
        self,
        video: str | os.PathLike[str],
        options: SynthesisOptions = SynthesisOptions(),
        progress: Progress | None = None,
    ) -> Iterator[AudioChunk]:
        """`convert`, chunk by chunk: at least one, the last one with the finished report. Raises as
        `convert`."""
        speaker, vocoder = self.speaker_embedding(options.voice), self.resolve_vocoder(options.vocoder)
        size, overlap = self.config.window_frames, self.config.overlap_frames
        join, post_process = WindowJoiner(overlap), self.config.post_processor(options.low_confidence)
        with read_frames(video) as frames:  # (H, W, 3) uint8 at 25 fps
            crops = crop_mouths(track_faces(frames))  # (96, 96) uint8 each
            counted = crops if progress is None else report_progress(crops, frames.expected_frames, progress)
            for window in windows(counted, size, overlap):  # T crops each
                prediction = self.predict(window.pixels, speaker)  # mel, units, codes
                wav = self.vocode(prediction, vocoder)  # (640 T,) float32
                features = self.frame_features(prediction, window.pixels)
                yield post_process(join(window, wav, features), crops.report)
            yield post_process(join.finish(), crops.report)
        if progress is not None:
            progress(1.0)

    def synthesize(
        self, roi: NDArray[np.uint8] | Tensor, speaker: Tensor | None = None, vocoder: str | None = None
    ) -> Tensor:
        """Mouth crops (T, 96, 96) uint8 -> wav (640 T,) float32 in [-1, 1], in one window."""
        return self.vocode(self.predict(roi, speaker), vocoder)

    @torch.no_grad()
    def predict(self, roi: NDArray[np.uint8] | Tensor, speaker: Tensor | None = None) -> Prediction:
        """The prediction for one clip (B = 1).

        Args:
            roi: mouth crops (T, 96, 96) uint8.
            speaker: embedding (S,); None: the default voice.
        """
        if roi.ndim != 3:
            raise ValueError(f"roi must be one clip (T, 96, 96), got {tuple(roi.shape)}.")
        x = self.transform(roi).to(self.device)  # (1, 1, T, 88, 88)
        out: Prediction = self.model(x, self.speaker_embedding(speaker)[None])
        return out

    @torch.no_grad()
    def vocode(self, prediction: Prediction, vocoder: str | None = None) -> Tensor:
        """Prediction (B = 1) -> wav (640 T,)."""
        out: Tensor = self.vocoders[self.resolve_vocoder(vocoder)](prediction)[0, 0].float().cpu()
        return out

    def frame_features(self, prediction: Prediction, roi: NDArray[np.uint8] | Tensor) -> FrameFeatures:
        """What confidence is computed from, for each of T video frames (B = 1)."""
        bits, _ = self.code_bits(prediction)
        return confidence_features(prediction, roi, bits)

    @torch.no_grad()
    def code_bits(
        self, prediction: Prediction, state: CodePriorState | None = None
    ) -> tuple[Tensor | None, CodePriorState | None]:
        """Mean bits of the predicted codes of each video frame under the code prior.

        Args:
            prediction: of T video frames.
            state: returned for the frames before these (B = 1).

        Returns:
            (T,) on the CPU and the next state; None, None without a code prior.
        """
        if self.code_prior is None:
            return None, None
        codes = prediction.require("codes")
        speaker = prediction.require("speaker") if self.code_prior.config.speaker_dim else None
        logits, state = self.code_prior.step(codes, speaker, state)
        per_frame = per_video_frame(self.model.config.heads.code_frame_rate)
        bits = bits_per_code(logits, codes)[0].mean(0)  # (rT,)
        return bits.unflatten(0, (-1, per_frame)).mean(1).cpu(), state

    def speaker_embedding(self, voice: Tensor | str | os.PathLike[str] | None) -> Tensor:
        """The speaker embedding (S,) of a voice; see `SynthesisOptions.voice`. ValueError: there is none."""
        size = self.model.config.heads.speaker_dim
        if isinstance(voice, Tensor):
            if voice.shape != (size,):
                raise ValueError(f"a speaker embedding must be ({size},), got {tuple(voice.shape)}.")
            return voice.to(self.device)
        if voice is None and not self.config.default_voice:
            raise ValueError(
                "this model has no default voice; give one: an enrolled voice, or a speaker embedding of its "
                f"speaker encoder, {size} numbers as FILE.npy."
            )
        name = self.config.default_voice if voice is None else os.fspath(voice)
        if name.endswith(".npy"):
            return read_embedding(name, size).to(self.device)
        if voice is not None and name in (enrolled := list_voices()):
            return load_voice(name).embedding(self.speaker_encoder).to(self.device)
        if name in self.voices:
            return self.voices[name]
        if voice is None or not Path(name).exists():
            stored = ", ".join([*self.voices, *enrolled])
            raise ValueError(f"no voice is called {name!r} and no such recording exists; stored: {stored}.")
        return self.speaker_encoder.embed(read_wav(name)).to(self.device)

    def resolve_vocoder(self, name: str | None) -> str:
        """The name of a vocoder, the default one for None. ValueError: there is no such vocoder."""
        name = name or self.config.vocoder
        if name not in self.vocoders:
            raise ValueError(
                f"no vocoder is called {name!r}; this model has {', '.join(self.vocoder_names)}."
            )
        return name


def report_progress(
    crops: Iterable[MouthCrop], expected_frames: int | None, progress: Progress
) -> Iterator[MouthCrop]:
    """Pass crops on, and report once a second of video how much of the file has been read, if that is
    known."""
    for count, crop in enumerate(crops, 1):
        if expected_frames and count % VIDEO_FPS == 1:
            progress(min(1.0, count / expected_frames))
        yield crop
