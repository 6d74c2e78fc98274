"""Clips of any length and size from an existing one, for benchmarks."""

from __future__ import annotations

from pathlib import Path

from lip2speech.constants import VIDEO_FPS


def repeat_clip(source: Path, out: Path, *, size: int, seconds: float) -> None:
    """Write `source`, played forwards and backwards in a loop, at size x size as silent H.264 at 25 fps."""
    import av

    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    loop = frames + frames[-2:0:-1]  # forwards and backwards, so there is no jump
    with av.open(str(out), "w") as sink:
        stream = sink.add_stream("libx264", rate=VIDEO_FPS, options={"crf": "23", "preset": "veryfast"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(round(VIDEO_FPS * seconds)):
            frame = av.VideoFrame.from_ndarray(loop[i % len(loop)], format="rgb24")
            sink.mux(stream.encode(frame.reformat(size, size, format="yuv420p")))
        sink.mux(stream.encode())
