"""A sound file to a file of codes and back, piece by piece, so that memory does not grow with the sound.

A causal codec runs by its `step` functions, in pieces of about two seconds; what comes out is what the codec
gives for the whole sound, made up with zeros to whole frames. A codec that cannot step gets the whole sound
at once, and refuses more than `MAX_WHOLE_S` of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lip2speech.audio.io import wav_reader, wav_writer
from lip2speech.codecs.base import Codec
from lip2speech.codecs.bitstream import GROUP, CodesHeader, CodesReader, codes_reader, codes_writer
from lip2speech.codecs.builders import code_fingerprint
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.video.errors import MediaError

PIECE_S = 2.0
MAX_WHOLE_S = 120.0  # of EnCodec at 24 kHz this takes about 2 GB
MAX_LATE = 8  # frames that a codec's codes may come after their sound
MAX_WAV_BYTES = (1 << 32) - (1 << 12)  # what a wav's 32-bit sizes can tell


class CodecCompressor:
    """A codec that reads and writes files. Takes the codec over: its weight norm is folded."""

    def __init__(self, codec: Codec):
        self.fingerprint = code_fingerprint(codec)  # of the names as they are stored, so before folding
        self.codec = codec.eval()
        fold_weight_norm(self.codec)
        frames = max(1, round(PIECE_S * codec.frame_rate / GROUP)) * GROUP
        self.piece_frames = frames
        self.piece_samples = frames * codec.hop_length

    def head(self, n_q: int | None = None) -> CodesHeader:
        """What a container of this codec says, before its length is known; ValueError for a wrong n_q."""
        codec = self.codec
        n_q = codec.n_q if n_q is None else n_q
        if not 1 <= n_q <= codec.n_q:
            raise ValueError(f"n_q must be in 1..{codec.n_q} for this codec, got {n_q}.")
        sizes = codec.codebook_sizes[:n_q]
        return CodesHeader(self.fingerprint, codec.sample_rate, codec.hop_length, sizes)

    @torch.inference_mode()
    def encode(
        self, source: str | os.PathLike, out: str | os.PathLike, n_q: int | None = None
    ) -> CodesHeader:
        """Write the sound of any file that `read_wav` takes as codes; what the container says of them.

        Raises:
            MediaError: no sound, or damaged. ValueError: wrong n_q, or a sound too long for this codec.
        """
        head, codec = self.head(n_q), self.codec
        with (
            wav_reader(source, codec.sample_rate, self.piece_samples) as pieces,
            codes_writer(out, head) as writer,
        ):
            samples = 0

            def counted() -> Iterator[Tensor]:
                nonlocal samples
                for piece in pieces:
                    samples += len(piece)
                    yield piece

            for codes in self._codes(Path(source).name, counted()):
                writer.write(codes[0, : head.n_q].cpu().numpy())
            return writer.close(samples)

    @torch.inference_mode()
    def decode(
        self, source: str | os.PathLike, out: str | os.PathLike, n_q: int | None = None
    ) -> CodesHeader:
        """Write codes as a 16-bit wav of exactly the samples that were encoded; with the first n_q books.

        Raises:
            MediaError: no container, a damaged one, or one of another codec. ValueError: wrong n_q.
        """
        with codes_reader(source) as reader:
            self._check(reader, n_q)
            head = reader.head
            codes = (torch.from_numpy(c[:n_q].copy())[None] for c in reader.read(self.piece_frames))
            left = head.samples
            with wav_writer(out, head.sample_rate) as write:
                for wav in self._sound(reader.name, codes, head):
                    write(wav[0, 0, :left])
                    left -= min(left, wav.shape[-1])
            return head

    def _check(self, reader: CodesReader, n_q: int | None) -> None:
        head, own = reader.head, self.head()
        if head.fingerprint != own.fingerprint:
            raise MediaError(
                f"{reader.name}: was made by another codec ({head.fingerprint}, this one is "
                f"{own.fingerprint}); give the one that made it with --codec."
            )
        numbers = (head.sample_rate, head.hop_length, head.codebook_sizes)
        if numbers != (own.sample_rate, own.hop_length, own.codebook_sizes[: head.n_q]):
            raise MediaError(f"{reader.name}: its numbers are not those of its codec; it is damaged.")
        if n_q is not None and not 1 <= n_q <= head.n_q:
            raise ValueError(f"n_q must be in 1..{head.n_q} for {reader.name}, got {n_q}.")
        if 2 * head.samples > MAX_WAV_BYTES:
            raise MediaError(
                f"{reader.name}: {head.seconds / 3600:.1f} hours do not fit into a wav (4 GiB); "
                "encode the sound in shorter parts."
            )

    def _codes(self, name: str, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Pieces (T,) of `piece_samples` but the last -> codes (1, n_q, T_c)."""
        first, second = next(pieces), next(pieces, None)
        if second is None or not self.codec.is_streamable:
            whole = [first] if second is None else self._gathered(name, first, second, pieces)
            yield self.codec.encode(self._framed(torch.cat(whole)))
            return
        given = made = 0
        state = None
        for piece in chain((first, second), pieces):
            wav = self._framed(piece)
            codes, state = self.codec.encode_step(wav, state)
            given, made = given + wav.shape[-1] // self.codec.hop_length, made + codes.shape[-1]
            yield codes
        silence = self._framed(torch.zeros(1))
        for _ in range(MAX_LATE):  # what a look-ahead still holds back
            if made == given:
                return
            codes, state = self.codec.encode_step(silence, state)
            yield codes[..., : given - made]
            made += min(given - made, codes.shape[-1])
        assert made == given, f"a codec's codes came more than {MAX_LATE} frames late"

    def _gathered(self, name: str, first: Tensor, second: Tensor, pieces: Iterator[Tensor]) -> list[Tensor]:
        """All pieces, if they are not too long for a codec that wants them at once."""
        held, samples = [], 0
        for piece in chain((first, second), pieces):
            samples += len(piece)
            self._check_whole(name, samples)
            held.append(piece)
        return held

    def _sound(self, name: str, pieces: Iterator[Tensor], head: CodesHeader) -> Iterator[Tensor]:
        """Pieces (1, n_q, T_c) of `piece_frames` but the last -> wav (1, 1, T) on the CPU."""
        where = self._device
        if head.frames <= self.piece_frames or not self.codec.is_streamable:
            if head.frames > self.piece_frames:
                self._check_whole(name, head.samples)
            yield self.codec.decode(torch.cat(list(pieces), -1).to(where)).cpu()
            return
        state = None
        for codes in pieces:
            wav, state = self.codec.decode_step(codes.to(where), state)
            yield wav.cpu()

    def _check_whole(self, name: str, samples: int) -> None:
        if samples > MAX_WHOLE_S * self.codec.sample_rate:
            raise ValueError(
                f"{name}: longer than {MAX_WHOLE_S:.0f} s, and this codec sees ahead, so it needs all of the "
                "sound in memory; cut it into parts, or take a causal codec."
            )

    def _framed(self, wav: Tensor) -> Tensor:
        """(T,) -> (1, 1, T') with zeros up to a whole frame, where the codec is."""
        return F.pad(wav, (0, -len(wav) % self.codec.hop_length))[None, None].to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.codec.parameters()).device
