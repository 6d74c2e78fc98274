"""Vocoders that end in a codec's decoder (lip2speech/vocoders/codec.py), and which ones a model has."""

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import MelConfig
from lip2speech.codecs import EnCodec, EnCodecConfig, MelCodec
from lip2speech.config import from_dict
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import CodecDecoderVocoder, CodecMelVocoder, build_vocoders
from tests.factories import make_codec

VOCODERS = ("channel", "codes", "codes-independent", "griffin-lim", "mel")


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    return make_codec()


def mel(batch: int, frames: int) -> Tensor:
    return -6 + torch.randn(batch, 80, 4 * frames, generator=torch.Generator().manual_seed(0))


def prediction(batch: int, frames: int) -> Prediction:
    generator = torch.Generator().manual_seed(1)
    return Prediction(
        mel=mel(batch, frames),
        pitch=torch.zeros(batch, 2, 4 * frames),
        codes=torch.randint(16, (batch, 2, 2 * frames), generator=generator),
        independent_code_logits=torch.randn(batch, 2, 16, 2 * frames, generator=generator),
    )


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("name", VOCODERS)
def test_a_video_frame_becomes_640_samples(codec: MelCodec, name: str, batch: int, frames: int) -> None:
    vocoder = build_vocoders(codec, MelConfig())[name]
    with torch.no_grad():
        wav = vocoder(prediction(batch, frames))
    assert wav.shape == (batch, 1, 640 * frames)
    assert wav.dtype == torch.float32
    assert wav.abs().max() <= 1
    assert vocoder.sample_rate == 16_000


@pytest.mark.parametrize("name", VOCODERS)
def test_a_vocoder_needs_exactly_the_fields_it_lists(codec: MelCodec, name: str) -> None:
    vocoder = build_vocoders(codec, MelConfig())[name]
    full = prediction(1, 2)
    with torch.no_grad():
        vocoder(Prediction(**{name: full.require(name) for name in vocoder.needs}))
    with pytest.raises(ValueError, match=f"needs {vocoder.needs[0]}"):
        vocoder(Prediction())


def test_codes_are_decoded_by_the_codec(codec: MelCodec) -> None:
    given = prediction(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(CodecDecoderVocoder(codec)(given), codec.decode(given.require("codes")))
        best = given.require("independent_code_logits").argmax(2)
        torch.testing.assert_close(CodecDecoderVocoder(codec, "independent")(given), codec.decode(best))


def test_a_mel_passes_through_the_codec_encoder(codec: MelCodec) -> None:
    wav = 0.1 * torch.randn(1, 1, 6400, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        audio = CodecMelVocoder(codec)(Prediction(mel=codec.mel(wav)))
        torch.testing.assert_close(audio, codec.decode_latent(codec.encode_latent(wav)))


@pytest.mark.parametrize("name", ["codes", "codes-independent", "mel"])
def test_the_output_is_clipped_to_1(name: str) -> None:
    loud = make_codec()
    with torch.no_grad():
        for parameter in loud.decoder.parameters():
            parameter.mul_(20)
        wav = build_vocoders(loud, MelConfig())[name](prediction(1, 4))
    assert wav.abs().max() == 1


def test_a_waveform_codec_has_no_mel_vocoder() -> None:
    numbers = {"seanet": {"n_filters": 2, "lstm": 0}, "quantizer": {"n_q": 2, "codebook_size": 16}}
    codec = EnCodec(from_dict(EnCodecConfig, numbers)).eval()
    assert set(build_vocoders(codec, MelConfig())) == set(VOCODERS) - {"mel"}


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("name", ["codes", "codes-independent", "mel"])
def test_streaming_equals_one_pass(codec: MelCodec, name: str, size: int) -> None:
    vocoder, full = build_vocoders(codec, MelConfig())[name], prediction(2, 7)
    chunks, state = [], None
    for first in range(0, 7, size):
        part = Prediction(**{
            name: getattr(full, name)[..., first * rate : (first + size) * rate]
            for name, rate in (("mel", 4), ("codes", 2), ("independent_code_logits", 2))
        })  # fmt: skip
        wav, state = vocoder.step(part, state)
        chunks.append(wav)
    torch.testing.assert_close(torch.cat(chunks, -1), vocoder(full), rtol=0, atol=1e-5)
    assert vocoder.finish(state).shape[-1] == vocoder.latency == 0
