"""`lip2speech codec`: audio to a few bits and back by a neural codec, at any length in constant memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lip2speech.cli._errors import UsageError, one_line, one_line_errors
from lip2speech.cli._progress import progress_bar

if TYPE_CHECKING:
    from lip2speech.codecs.bitstream import CodesHeader
    from lip2speech.codecs.compress import CodecCompressor

codec = typer.Typer(help="Audio to codes and back: encode, decode, info.", no_args_is_help=True)

CODES_SUFFIX, WAV_SUFFIX = ".l2c", ".wav"

Source = Annotated[Path, typer.Argument(metavar="FILE")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Output file; default: next to FILE.")]
Folder = Annotated[
    str,
    typer.Option(
        "--codec", metavar="DIR|NAME", help="Folder of a codec or a model, or name of a bundled model."
    ),
]
NCodebooks = Annotated[
    int | None, typer.Option("--n-q", min=1, help="Number of codebooks to use; default: all.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print neither progress nor result.")]


@codec.command()
def encode(
    source: Source,
    output: Output = None,
    folder: Folder = "default",
    n_q: NCodebooks = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Encode the audio of a file (wav, flac, mp3, a video, ...) to codes, FILE.l2c."""
    with one_line_errors():
        output = resolve_output(source, output, CODES_SUFFIX, overwrite)
        run("encode", (source, output, n_q), folder, device, quiet)


@codec.command()
def decode(
    source: Source,
    output: Output = None,
    folder: Folder = "default",
    n_q: NCodebooks = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Decode codes to audio of the original length, FILE.wav, with the codec that encoded them."""
    with one_line_errors():
        output = resolve_output(source, output, WAV_SUFFIX, overwrite)
        run("decode", (source, output, n_q), folder, device, quiet)


@codec.command()
def info(source: Source) -> None:
    """Verify a file of codes and print its header."""
    with one_line_errors():
        from lip2speech.codecs.bitstream import codes_reader

        with codes_reader(source) as reader:
            header = reader.header
            typer.echo(f"{one_line(source)}: {describe(header)}, codec {header.fingerprint}")


def run(
    action: Literal["encode", "decode"],
    arguments: tuple[Path, Path, int | None],
    folder: str,
    device: str,
    quiet: bool,
) -> None:
    """Encode or decode with progress, and print the result."""
    source, output, _ = arguments
    with progress_bar(quiet=quiet) as progress:
        progress.start(source.name)
        compressor = load_compressor(folder, device)
        start = time.perf_counter()
        header: CodesHeader = getattr(compressor, action)(*arguments)
        rtf = (time.perf_counter() - start) / max(header.seconds, 1e-9)
        if not quiet:
            paths = f"{one_line(source)} -> {one_line(output)}"
            progress.print(f"{paths}: {describe(header)}, {rtf:.3f} x real time")


def load_compressor(folder: str, device: str) -> CodecCompressor:
    """The codec that `--codec` and `--device` name."""
    from lip2speech.codecs import load_codec_from_model
    from lip2speech.codecs.compress import CodecCompressor
    from lip2speech.pretrained import resolve_model_path
    from lip2speech.utils.device import choose_device

    torch_device = choose_device(device)
    compressor = CodecCompressor(load_codec_from_model(resolve_model_path(folder)))
    compressor.codec.to(torch_device)
    return compressor


def resolve_output(source: Path, output: Path | None, suffix: str, overwrite: bool) -> Path:
    """The output file, after checking that nothing is lost by writing it; UsageError otherwise."""
    output = source.with_suffix(suffix) if output is None else output
    if output.suffix.lower() != suffix:
        raise UsageError(f"-o {output}: the name must end in {suffix}.")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input; choose another output with -o.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output}: exists and is not a regular file; choose another output with -o.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: already exists; pass --overwrite to replace it.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: its folder does not exist; create it first.")
    return output


def describe(header: CodesHeader) -> str:
    """Duration, codebooks, and bit rates of the codes and of the whole file."""
    from lip2speech.modules.codebook_patterns import describe_codebooks

    size, kbps = header.file_bytes, header.kbps
    total_kbps = 8 * size / header.seconds / 1000
    frame_rate = header.sample_rate / header.hop_length
    return (
        f"{header.seconds:.2f} s at {header.sample_rate} Hz, {describe_codebooks(header.codebook_sizes)} at "
        f"{frame_rate:g} Hz, {kbps:.3g} kbit/s ({total_kbps:.3g} with the header, {size} bytes)"
    )
