"""Print the cost of video file -> mouth crops, against a face detector on every frame, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.preprocess FACE.mp4

The clip is scaled to 512x512 and looped forwards and backwards for 10 and 60 seconds: any short clip of a
face will do. Both sides read the same file with PyAV in the same process, alternately:

    ours   decode -> face tracking -> smoothed 96x96 crops (`load_roi` without storing the crops)
    peer   decode -> mediapipe's full-range face detection on every frame, without crops

CPU milliseconds per frame, summed over all threads of the process, which is less sensitive to other load than
wall time. Memory is the peak of a new process for each length.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import av
from numpy.typing import NDArray

from lip2speech.video import crop_mouths, read_frames, track_faces

SIDE = 512
FPS = 25
ROUNDS = 8
SECONDS = (10, 60)


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--memory":
        print_memory(sys.argv[2], Path(sys.argv[3]))
        return
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.preprocess FACE.mp4")
    with tempfile.TemporaryDirectory() as folder:
        clips = {seconds: Path(folder) / f"{seconds}.mp4" for seconds in SECONDS}
        for seconds, clip in clips.items():
            write_square(Path(sys.argv[1]), clip, seconds * FPS)
        print_speed(clips[SECONDS[0]])
        print_growth(clips)


def print_speed(clip: Path) -> None:
    """CPU milliseconds per frame, measured alternately."""
    detector = peer_detector()
    runs: dict[str, Callable[[], int]] = {
        "ours": lambda: ours(clip),
        "peer": lambda: peer(clip, detector),
        "decode only": lambda: decode(clip),
    }
    for call in runs.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in runs}
    print("| round |", " | ".join(runs), "| ours / peer |\n|---|" + "---|" * (len(runs) + 1))
    for k in range(ROUNDS):
        for name, call in runs.items():
            times[name].append(cpu_ms(call))
        row = [times[name][-1] for name in runs]
        print(f"| {k + 1} |", " | ".join(f"{ms:.2f}" for ms in row), f"| {row[0] / row[1]:.2f} |")
    for name, statistic in (("median", median), ("minimum", min)):
        row = [statistic(times[run]) for run in runs]
        print(f"| {name} |", " | ".join(f"{ms:.2f}" for ms in row), f"| {row[0] / row[1]:.2f} |")
    print("\nCPU ms per frame at 512x512; the target is a ratio of 0.75 at most.\n")


def print_growth(clips: dict[int, Path]) -> None:
    """Peak memory for a short and a long clip."""
    print("| seconds | ours, MB | peer, MB |\n|---|---|---|")
    for seconds, clip in clips.items():
        peaks = [memory_of(which, clip) for which in ("ours", "peer")]
        print(f"| {seconds} |", " | ".join(f"{peak:.0f}" for peak in peaks), "|")
    print("\nPeak resident memory of a new process.")


def ours(clip: Path) -> int:
    """Number of crops."""
    with read_frames(clip) as frames:
        return sum(1 for _ in crop_mouths(track_faces(frames)))


def peer(clip: Path, detector: Any) -> int:
    """Number of frames passed to the detector."""
    return sum(1 for pixels in decoded(clip) if detector.process(pixels) is not None)


def decode(clip: Path) -> int:
    """Number of frames decoded to RGB."""
    return sum(1 for _ in decoded(clip))


def decoded(clip: Path) -> Iterator[NDArray[Any]]:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")


def peer_detector() -> Any:
    from mediapipe.python.solutions.face_detection import FaceDetection

    return FaceDetection(min_detection_confidence=0.5, model_selection=1)


def cpu_ms(call: Callable[[], int]) -> float:
    start = time.process_time()
    frames = call()
    return (time.process_time() - start) * 1000 / frames


def write_square(source: Path, target: Path, n: int) -> None:
    """Write n center-cropped frames of a clip, 512x512 at 25 fps, looped forwards and backwards."""
    with read_frames(source) as reader:
        images = [square(pixels) for pixels in islice(reader, 8 * FPS)]
    loop = cycle(chain(images, images[-2:0:-1]))
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for k, pixels in enumerate(islice(loop, n)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def square(pixels: NDArray[Any]) -> NDArray[Any]:
    """Center crop of (H, W, 3), scaled to (512, 512, 3)."""
    import cv2

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = pixels[top : top + side, left : left + side]
    return cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC)


def memory_of(which: str, clip: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.preprocess", "--memory", which, str(clip)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(which: str, clip: Path) -> None:
    """Print the peak memory in MB; called in a separate process."""
    if which == "ours":
        ours(clip)
    else:
        peer(clip, peer_detector())
    # Not getrusage: a child started by vfork inherits its parent's peak there.
    status = Path("/proc/self/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+)", status)
    assert match is not None, "Linux reports VmHWM"
    print(int(match[1]) / 1024)


if __name__ == "__main__":
    main()
