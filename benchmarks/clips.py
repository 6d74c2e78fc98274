"""A clip of any length and size out of one that is there, for benchmarks."""

from __future__ import annotations

from pathlib import Path


def repeat_clip(source: Path, out: Path, *, size: int, seconds: float) -> None:
    """Write `source` forth and back, again and again, at size x size, as silent H.264 at 25 fps."""
    import av

    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    swing = frames + frames[-2:0:-1]  # forth and back, so that no repetition jumps
    with av.open(str(out), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(round(25 * seconds)):
            picture = av.VideoFrame.from_ndarray(swing[i % len(swing)], format="rgb24")
            sink.mux(stream.encode(picture.reformat(size, size, format="yuv420p")))
        sink.mux(stream.encode())
