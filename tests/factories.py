"""Small test data: audio, prepared clips, folders of codecs and whole models."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.codecs import MelCodec, MelCodecConfig, code_fingerprint, codec_from_dict
from lip2speech.config import from_dict, to_dict
from lip2speech.models.code_prior import CodePrior, CodePriorConfig, bits_per_code, build_code_prior
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.models.speaker_encoder import XVectorSpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import KIND, XVectorConfig, XVectorNet
from lip2speech.pipeline import PipelineConfig

CODEC: dict[str, Any] = {
    "encoder": {"width": 16, "blocks": [1, 1]},
    "quantizer": {"n_q": 2, "codebook_size": 16},
    "decoder": {"n_filters": 2, "n_residual_layers": 1},
}
SACODEC: dict[str, Any] = {
    "encoder": {"n_filters": 2, "lstm": 1, "dimension": 8},
    "semantic": {"codebook_size": 6, "centroid_dim": 39},
    "acoustic": {"codebook_size": 16, "codebook_dim": 8},
    "decoder": {"dimension": 8, "width": 32, "hidden": 64, "blocks": 1},
}
MODEL: dict[str, Any] = {
    "frontend": {
        "resnet_width": 2, "encoder_layers": 1, "embed_dim": 16, "ffn_dim": 16, "heads": 2, "conv_pos": 16,
        "activation": "relu", "layerdrop": 0.0,
    },
    "heads": {"hidden_dim": 16, "n_blocks": 1, "n_units": 8, "n_q": 2, "codebook_size": 16},
}  # fmt: skip

CODE_PRIOR: dict[str, Any] = {
    "n_q": 2, "codebook_size": 16, "speaker_dim": 163, "channels": 8, "layers": 2
}  # fmt: skip


def synthetic_voice(frames: int, hz: float) -> Tensor:
    """A harmonic tone with an envelope of 2 Hz, `frames` video frames long: (640 T,) float32."""
    time = torch.arange(frames * 640) / 16_000
    partials = sum(torch.sin(2 * math.pi * k * hz * time) / k for k in range(1, 8))
    return torch.as_tensor(0.2 * partials * (0.6 - 0.4 * torch.cos(4 * math.pi * time)))


def prepare(
    folder: Path,
    *,
    splits: str = "train train train valid",
    frames: int = 14,
    speakers: str = "ann ben",
    text: str = "",
) -> Path:
    """A prepared clip folder: one clip per word of `splits`, speakers in turn, each one frame longer."""
    from safetensors.torch import save_file

    (folder / "clips").mkdir(parents=True)
    rows = []
    for i, split in enumerate(splits.split()):
        generator, n = torch.Generator().manual_seed(i), frames + i
        roi = torch.randint(256, (n, 96, 96), generator=generator, dtype=torch.uint8)
        wav = (synthetic_voice(n, 110.0 + 25 * i) * 32_000).to(torch.int16)
        save_file({"roi": roi, "wav": wav}, folder / "clips" / f"clip{i}.safetensors")
        speaker = speakers.split()[i % len(speakers.split())]
        rows.append({
            "id": f"clip{i}", "split": split, "speaker": speaker, "text": text, "status": "done",
            "n_frames": n,
        })  # fmt: skip
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def make_codec(numbers: dict[str, Any] = CODEC) -> MelCodec:
    """A MelCodec with random weights, in eval mode."""
    torch.manual_seed(0)
    return MelCodec(from_dict(MelCodecConfig, numbers)).eval()


def make_model(numbers: dict[str, Any] = MODEL) -> LipModel:
    """A LipModel with random weights, in eval mode."""
    torch.manual_seed(0)
    return LipModel(from_dict(ModelConfig, numbers)).eval()


def make_code_prior(**sizes: Any) -> CodePrior:
    """A code prior of the tiny codec's codes with random weights, in eval mode."""
    torch.manual_seed(0)
    return build_code_prior(from_dict(CodePriorConfig, CODE_PRIOR | sizes)).eval()


def trained_code_prior(codes: Tensor, vector: Tensor) -> CodePrior:
    """A code prior overfitted to these codes (B, n_q, T) of a speaker (B, S)."""
    network = make_code_prior()
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(20):
        adam.zero_grad()
        bits_per_code(network(codes, vector), codes).mean().backward()
        adam.step()
    return network


def tiny_speaker_encoder(seed: int) -> XVectorSpeakerEncoder:
    """A speaker encoder with a few random weights, (9,)."""
    torch.manual_seed(seed)
    return XVectorSpeakerEncoder(XVectorNet(XVectorConfig(channels=8, pool_dim=8, attention_dim=4, dim=6)))


def save_speaker_encoder(folder: Path, seed: int = 0) -> Path:
    """A folder as written by speaker encoder training."""
    encoder = tiny_speaker_encoder(seed).encoder
    values = {"kind": KIND, "encoder": to_dict(encoder.config)}
    checkpoint.save(folder, values, encoder.state_dict(), "# Speaker encoder\n")
    return folder


def save_codec(folder: Path, codec: MelCodec | None = None) -> Path:
    """A folder as written by codec training."""
    codec = codec or make_codec()
    values = {"kind": "codec", "name": "melcodec", "codec": to_dict(codec.config)}
    checkpoint.save(folder, values, codec.state_dict(), "# Codec\n")
    return folder


def save_code_prior(folder: Path, codec: MelCodec | None = None, speaker: str = "ltas") -> Path:
    """A folder as written by code prior training."""
    network = make_code_prior()
    learned = {"codec": code_fingerprint(codec or make_codec()), "speaker": speaker}
    values = {"kind": "code_prior", "code_prior": to_dict(network.config)} | learned
    checkpoint.save(folder, values, network.state_dict(), "# Code prior\n")
    return folder


def save_sacodec(folder: Path) -> Path:
    """A folder of a codec with codebooks of 6 and 16."""
    torch.manual_seed(0)
    codec = codec_from_dict("sacodec", SACODEC)
    checkpoint.save(folder, {"kind": "codec", "name": "sacodec", "codec": SACODEC}, codec.state_dict(), "")
    return folder


def system(**changes: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a whole model; `changes` replace groups of the config."""
    model, codec = make_model(), make_codec()
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"codec.{k}": v for k, v in codec.state_dict().items()}
    tensors["voice.ann"] = 0.1 * torch.arange(163.0)
    values = {
        "kind": "lip2speech",
        "model": to_dict(model.config),
        "transform": to_dict(Transform()),
        "codec": {"name": "melcodec", "config": to_dict(codec.config)},
        "mel": to_dict(MelConfig()),
        "inference": to_dict(PipelineConfig(default_voice="ann")),
    }
    return values | changes, tensors


def save_system(folder: Path, **changes: Any) -> Path:
    """The folder of a whole model, for `Lip2Speech.from_pretrained`."""
    values, tensors = system(**changes)
    checkpoint.save(folder, values, tensors, "# Tiny\n")
    return folder


def save_system_with_prior(folder: Path, *, code_prior: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The folder of a whole model with a code prior; `code_prior` replaces some of its sizes."""
    values, tensors = system(**changes)
    network = make_code_prior(**(code_prior or {}))
    part = {"config": to_dict(network.config), "codec": code_fingerprint(make_codec()), "speaker": "ltas"}
    values["code_prior"] = part | values.get("code_prior", {})
    tensors |= {f"code_prior.{name}": tensor for name, tensor in network.state_dict().items()}
    checkpoint.save(folder, values, tensors, "# Tiny\n")
    return folder
