"""What is synthesized for one evaluation clip: ground truth, its copies, and the model's output.

Rows:
    ground truth                         the recording
    copy-synthesis (GT mel -> VOCODER)   the recording's log-mel (and F0) through a vocoder: its upper bound
    codec resynthesis                    the recording coded and decoded: upper bound of the code vocoder
    VOCODER                              predicted from the mouth crops
    end-to-end (VOCODER)                 `convert` on the video file, with the model's default vocoder
    streaming, N ms look-ahead           the video file as a stream (`streaming/`)
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import cast

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel
from lip2speech.audio.pitch import pitch_contour
from lip2speech.data.targets import match_length
from lip2speech.evaluation.dataset import EvaluationItem, SynthesizedAudio
from lip2speech.models.prediction import Prediction
from lip2speech.pipeline import Lip2Speech
from lip2speech.synthesis import SynthesisOptions
from lip2speech.vocoders import CodecDecoderVocoder, Vocoder

GROUND_TRUTH = "ground truth"
VOICED_LOGIT = 9.0


def default_vocoder(model: Lip2Speech, vocoders: Sequence[str]) -> str:
    """The model's default vocoder if it is among `vocoders`, else the first of them."""
    return model.config.vocoder if model.config.vocoder in vocoders else vocoders[0]


def synthesize_item(
    model: Lip2Speech, item: EvaluationItem, voice: Tensor | None, vocoders: Sequence[str]
) -> tuple[Tensor, dict[str, SynthesizedAudio]]:
    """The ground truth (640 T,), and the audio of every row but the streaming ones, of the same length."""
    roi = item.load_roi()
    reference = match_length(item.load_wav(), len(roi))
    audio = {GROUND_TRUTH: SynthesizedAudio(reference)}
    audio |= {name: SynthesizedAudio(wav) for name, wav in copy_synthesis(model, reference, vocoders).items()}
    start = perf_counter()
    prediction = model.predict(roi, voice)
    prediction_s = perf_counter() - start
    for vocoder in vocoders:
        start = perf_counter()
        wav = model.vocode(prediction, vocoder)
        audio[vocoder] = _offline(wav, prediction_s + perf_counter() - start)
    if item.video is not None:
        vocoder, start = default_vocoder(model, vocoders), perf_counter()
        result = model.convert(item.video, SynthesisOptions(voice, vocoder))
        assert result.wav is not None, "only convert_to_file returns no audio"
        audio[f"end-to-end ({vocoder})"] = _offline(result.wav, perf_counter() - start)
    return reference, audio


def _offline(wav: Tensor, compute_s: float) -> SynthesizedAudio:
    """Synthesis starts after the last frame, so the latency is the whole computation."""
    return SynthesizedAudio(wav, compute_s, 1000 * compute_s)


@torch.inference_mode()
def copy_synthesis(model: Lip2Speech, reference: Tensor, vocoders: Sequence[str]) -> dict[str, Tensor]:
    """Row name -> (640 T,): the mel or codes of the ground truth (640 T,) through each vocoder."""
    wav = reference[None, None].to(model.device)
    audio = {}
    for name in vocoders:
        vocoder = cast(Vocoder, model.vocoders[name])
        if set(vocoder.needs) <= {"mel", "pitch"}:
            pitch = reference_pitch(reference).to(model.device)
            truth = Prediction(mel=reference_mel(model, wav), pitch=pitch)
            audio[f"copy-synthesis (GT mel -> {name})"] = model.vocode(truth, name)
        elif isinstance(vocoder, CodecDecoderVocoder) and vocoder.needs == ("codes",):
            codes = vocoder.codec.encode(wav)
            audio["codec resynthesis"] = model.vocode(Prediction(codes=codes), name)
    return audio


def reference_mel(model: Lip2Speech, wav: Tensor) -> Tensor:
    """Log-mel of (1, 1, 640 T) with the model's mel settings, as its heads predict it: (1, n_mels, 4T)."""
    mel: Tensor = LogMel(model.mel).to(wav.device)(wav)
    return mel[..., : wav.shape[-1] // model.mel.hop_length]  # centered framing gives one frame more


def reference_pitch(reference: Tensor) -> Tensor:
    """F0 and voicing logits of (640 T,), as a pitch head predicts them: (1, 2, 4T)."""
    f0, voiced = pitch_contour(reference)
    return torch.stack([f0, VOICED_LOGIT * (2 * voiced - 1)])[None]
