"""`lip2speech codec`: sound into a few bits and back, by a neural codec; any length, in constant memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lip2speech.cli._errors import UsageError, one_line, one_line_errors
from lip2speech.cli._progress import progress_bar

if TYPE_CHECKING:
    from lip2speech.codecs.bitstream import CodesHeader
    from lip2speech.codecs.compress import CodecCompressor

codec = typer.Typer(help="Sound to codes and back: encode, decode, show.", no_args_is_help=True)

CODES_SUFFIX, WAV_SUFFIX = ".l2c", ".wav"

Source = Annotated[Path, typer.Argument(metavar="FILE")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The file to write; default: beside FILE.")
]
Folder = Annotated[
    str, typer.Option("--codec", metavar="DIR|NAME", help="A codec's folder, a model's, or a bundled_models model.")
]
Books = Annotated[
    int | None, typer.Option("--n-q", min=1, help="Use the first so many codebooks; all by default.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no result line.")]


@codec.command()
def encode(
    source: Source,
    output: Output = None,
    folder: Folder = "default",
    n_q: Books = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the sound of a file (wav, flac, mp3, a video, ...) as codes, FILE.l2c."""
    with one_line_errors():
        output = settle(source, output, CODES_SUFFIX, overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start(source.name)
            files = load(folder, device)
            started = time.perf_counter()
            head = files.encode(source, output, n_q)
            if not quiet:
                progress.print(report(source, output, head, time.perf_counter() - started))


@codec.command()
def decode(
    source: Source,
    output: Output = None,
    folder: Folder = "default",
    n_q: Books = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write codes as sound, FILE.wav, as long as what was encoded. Give the codec that encoded it."""
    with one_line_errors():
        output = settle(source, output, WAV_SUFFIX, overwrite)
        with progress_bar(quiet=quiet) as progress:
            progress.start(source.name)
            files = load(folder, device)
            started = time.perf_counter()
            head = files.decode(source, output, n_q)
            if not quiet:
                progress.print(report(source, output, head, time.perf_counter() - started))


@codec.command()
def show(source: Source) -> None:
    """What a file of codes says of itself, once its checksums are right."""
    with one_line_errors():
        from lip2speech.codecs.bitstream import codes_reader

        with codes_reader(source) as reader:
            typer.echo(f"{one_line(source)}: {describe(reader.head)}, codec {reader.head.fingerprint}")


def load(folder: str, device: str) -> CodecCompressor:
    """The codec that `--codec` and `--device` name."""
    from lip2speech.codecs import load_codec_from_model
    from lip2speech.codecs.compress import CodecCompressor
    from lip2speech.pipeline import choose_device
    from lip2speech.pretrained import resolve_model_path

    where = choose_device(device)
    files = CodecCompressor(load_codec_from_model(resolve_model_path(folder)))
    files.codec.to(where)
    return files


def settle(source: Path, output: Path | None, suffix: str, overwrite: bool) -> Path:
    """The file to write, once it is clear that nothing is lost by it; UsageError otherwise."""
    output = source.with_suffix(suffix) if output is None else output
    if output.suffix.lower() != suffix:
        raise UsageError(f"-o {output}: give a name that ends in {suffix}.")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input itself; choose another output with -o.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output}: exists and is no plain file; choose another output with -o.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: already exists; pass --overwrite to replace it.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: its folder does not exist; make it first.")
    return output


def report(source: Path, output: Path, head: CodesHeader, spent: float) -> str:
    """One line for people: what became what, at which rate, how fast."""
    speed = f"{spent / max(head.seconds, 1e-9):.3f} x real time"
    return f"{one_line(source)} -> {one_line(output)}: {describe(head)}, {speed}"


def describe(head: CodesHeader) -> str:
    """Length, books, and the bit rate: of the codes, and of the whole file."""
    from lip2speech.modules.codebook_patterns import describe_codebooks

    size = head.file_bytes
    whole = 8 * size / head.seconds / 1000
    frame_rate = head.sample_rate / head.hop_length
    return (
        f"{head.seconds:.2f} s at {head.sample_rate} Hz, {describe_codebooks(head.codebook_sizes)} at "
        f"{frame_rate:g} Hz, {head.kbps:.3g} kbit/s ({whole:.3g} with the head, {size} bytes)"
    )
