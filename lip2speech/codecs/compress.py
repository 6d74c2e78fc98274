"""Audio files to files of codes and back, block by block, in constant memory.

A streamable codec runs in steps of about two seconds, with the same result as in one pass over the audio,
zero-padded to whole frames. Other codecs get the whole audio at once, up to `MAX_NON_STREAMING_S`.
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
from lip2speech.codecs.bitstream import (
    FRAMES_PER_BLOCK,
    CodesHeader,
    CodesReader,
    codes_reader,
    codes_writer,
)
from lip2speech.codecs.builders import code_fingerprint
from lip2speech.modules.conv import fold_weight_norm
from lip2speech.video.errors import MediaError

BLOCK_S = 2.0
MAX_NON_STREAMING_S = 120.0  # EnCodec at 24 kHz needs about 2 GB for this
MAX_LATENCY_FRAMES = 8  # the most that the codes of a codec may be delayed
MAX_WAV_BYTES = (1 << 32) - (1 << 12)  # limit of the 32-bit sizes in a wav file


class CodecCompressor:
    """A codec that reads and writes files. Takes ownership of the codec: its weight norm is folded."""

    def __init__(self, codec: Codec):
        self.fingerprint = code_fingerprint(codec)  # of the tensors as stored, so before folding
        self.codec = codec.eval()
        fold_weight_norm(self.codec)
        n_blocks = max(1, round(BLOCK_S * codec.frame_rate / FRAMES_PER_BLOCK))
        self.block_frames = n_blocks * FRAMES_PER_BLOCK
        self.block_samples = self.block_frames * codec.hop_length

    def header(self, n_q: int | None = None) -> CodesHeader:
        """The header of this codec's files, before their length is known; ValueError for an invalid n_q."""
        codec = self.codec
        n_q = codec.n_q if n_q is None else n_q
        if not 1 <= n_q <= codec.n_q:
            raise ValueError(f"n_q must be in 1..{codec.n_q} for this codec, got {n_q}.")
        sizes = codec.codebook_sizes[:n_q]
        return CodesHeader(self.fingerprint, codec.sample_rate, codec.hop_length, sizes)

    @torch.inference_mode()
    def encode(
        self, source: str | os.PathLike[str], out: str | os.PathLike[str], n_q: int | None = None
    ) -> CodesHeader:
        """Encode the audio of a file to a file of codes.

        Args:
            source: anything `read_wav` reads.
            out: the file of codes.
            n_q: number of codebooks; all by default.

        Returns:
            The header of the file.

        Raises:
            MediaError: the source has no audio or is damaged.
            ValueError: invalid n_q, or the audio is too long for a codec that does not stream.
        """
        header, codec = self.header(n_q), self.codec
        with (
            wav_reader(source, codec.sample_rate, self.block_samples) as blocks,
            codes_writer(out, header) as writer,
        ):
            samples = 0

            def counted() -> Iterator[Tensor]:
                nonlocal samples
                for block in blocks:
                    samples += len(block)
                    yield block

            for codes in self._encode_blocks(Path(source).name, counted()):
                writer.write(codes[0, : header.n_q].cpu().numpy())
            return writer.close(samples)

    @torch.inference_mode()
    def decode(
        self, source: str | os.PathLike[str], out: str | os.PathLike[str], n_q: int | None = None
    ) -> CodesHeader:
        """Decode a file of codes to a 16-bit wav of exactly the samples that were encoded.

        Args:
            source: the file of codes.
            out: the wav file.
            n_q: number of codebooks to use; all by default.

        Returns:
            The header of the source.

        Raises:
            MediaError: the source is not a file of codes, is damaged, or comes from another codec.
            ValueError: invalid n_q, or the audio is too long for a codec that does not stream.
        """
        with codes_reader(source) as reader:
            self._check(reader, n_q)
            header = reader.header
            codes = (torch.from_numpy(c[:n_q].copy())[None] for c in reader.read(self.block_frames))
            left = header.samples
            with wav_writer(out, header.sample_rate) as write:
                for wav in self._decode_blocks(reader.name, codes, header):
                    write(wav[0, 0, :left])
                    left -= min(left, wav.shape[-1])
            return header

    def _check(self, reader: CodesReader, n_q: int | None) -> None:
        header, own = reader.header, self.header()
        if header.fingerprint != own.fingerprint:
            raise MediaError(
                f"{reader.name}: comes from another codec ({header.fingerprint}, this one is "
                f"{own.fingerprint}); pass the codec that encoded it with --codec."
            )
        found = (header.sample_rate, header.hop_length, header.codebook_sizes)
        if found != (own.sample_rate, own.hop_length, own.codebook_sizes[: header.n_q]):
            raise MediaError(f"{reader.name}: its header does not match its codec; it is damaged.")
        if n_q is not None and not 1 <= n_q <= header.n_q:
            raise ValueError(f"n_q must be in 1..{header.n_q} for {reader.name}, got {n_q}.")
        if 2 * header.samples > MAX_WAV_BYTES:
            raise MediaError(
                f"{reader.name}: {header.seconds / 3600:.1f} hours do not fit into a wav file (4 GiB); "
                "encode the audio in shorter files."
            )

    def _encode_blocks(self, name: str, blocks: Iterator[Tensor]) -> Iterator[Tensor]:
        """Blocks (T,) of `block_samples` except the last -> codes (1, n_q, T_c)."""
        first, second = next(blocks), next(blocks, None)
        if second is None or not self.codec.is_streamable:
            whole = [first] if second is None else self._collect(name, chain((first, second), blocks))
            yield self.codec.encode(self._pad_to_frame(torch.cat(whole)))
            return
        n_input = n_output = 0
        state = None
        for block in chain((first, second), blocks):
            wav = self._pad_to_frame(block)
            codes, state = self.codec.encode_step(wav, state)
            n_input += wav.shape[-1] // self.codec.hop_length
            n_output += codes.shape[-1]
            yield codes
        silence = self._pad_to_frame(torch.zeros(1))
        for _ in range(MAX_LATENCY_FRAMES):  # flush what a look-ahead still buffers
            if n_output == n_input:
                return
            codes, state = self.codec.encode_step(silence, state)
            yield codes[..., : n_input - n_output]
            n_output += min(n_input - n_output, codes.shape[-1])
        assert n_output == n_input, f"the codec has a latency of more than {MAX_LATENCY_FRAMES} frames"

    def _collect(self, name: str, blocks: Iterator[Tensor]) -> list[Tensor]:
        """All blocks, if they are not too long for a codec that does not stream."""
        collected, samples = [], 0
        for block in blocks:
            samples += len(block)
            self._check_length(name, samples)
            collected.append(block)
        return collected

    def _decode_blocks(self, name: str, blocks: Iterator[Tensor], header: CodesHeader) -> Iterator[Tensor]:
        """Blocks (1, n_q, T_c) of `block_frames` except the last -> wav (1, 1, T) on the CPU."""
        if header.frames <= self.block_frames or not self.codec.is_streamable:
            if header.frames > self.block_frames:
                self._check_length(name, header.samples)
            yield self.codec.decode(torch.cat(list(blocks), -1).to(self._device)).cpu()
            return
        state = None
        for codes in blocks:
            wav, state = self.codec.decode_step(codes.to(self._device), state)
            yield wav.cpu()

    def _check_length(self, name: str, samples: int) -> None:
        if samples > MAX_NON_STREAMING_S * self.codec.sample_rate:
            raise ValueError(
                f"{name}: longer than {MAX_NON_STREAMING_S:.0f} s, and this codec does not stream, so all "
                "of the audio would be in memory; split the file, or use a causal codec."
            )

    def _pad_to_frame(self, wav: Tensor) -> Tensor:
        """(T,) -> (1, 1, T'), zero-padded to whole frames, on the codec's device."""
        return F.pad(wav, (0, -len(wav) % self.codec.hop_length))[None, None].to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.codec.parameters()).device
