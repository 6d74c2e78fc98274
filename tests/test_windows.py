"""Windows of crops and how their audio is joined (lip2speech/windows.py)."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch

from lip2speech.confidence.features import FEATURES, FrameFeatures
from lip2speech.video.crop import MouthCrop
from lip2speech.windows import RenderedFrames, Window, WindowBuffer, WindowJoiner, windows

SIGNAL = torch.randn(700 * 640, generator=torch.Generator().manual_seed(0))


def numbered(frames: int, sources: str = "") -> Iterator[MouthCrop]:
    """Crops that hold their own numbers; `sources` has an "i" where one is interpolated, an "h" where
    held."""
    names = {"i": "interpolated", "h": "held"}
    for n in range(frames):
        source = names.get(sources[n], "detected") if n < len(sources) else "detected"
        yield MouthCrop(np.array([[n // 256, n % 256]], np.uint8), source)


def numbers_of(window: Window) -> list[int]:
    return [int(pixels[0, 0]) * 256 + int(pixels[0, 1]) for pixels in window.pixels]


def render(window: Window, value: float | None = None) -> tuple[torch.Tensor, FrameFeatures]:
    """The known signal, and features that are the frame numbers, or `value`."""
    numbers = torch.tensor(numbers_of(window), dtype=torch.float32)
    wav = SIGNAL[640 * window.start : 640 * (window.start + len(window.crops))]
    rows = numbers if value is None else torch.full_like(numbers, value)
    return wav, FrameFeatures(rows[:, None].repeat(1, len(FEATURES) + 1), rows)


def joined(cut: Iterable[Window], overlap: int) -> list[RenderedFrames]:
    join = WindowJoiner(overlap)
    return [*(join(window, *render(window)) for window in cut), join.finish()]


@pytest.mark.parametrize("frames", [1, 149, 150, 151, 250, 251, 400, 699])
def test_renderings_of_one_signal_join_to_that_signal(frames: int) -> None:
    pieces = joined(windows(numbered(frames), 150, 50), 50)
    assert torch.equal(torch.cat([piece.wav for piece in pieces]), SIGNAL[: 640 * frames])
    assert torch.cat([piece.features.code_bits for piece in pieces]).tolist() == list(range(frames))


@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (7, 0), (7, 1), (7, 6), (20, 15)])
def test_any_size_and_overlap_will_do(size: int, overlap: int) -> None:
    pieces = joined(windows(numbered(33), size, overlap), overlap)
    assert torch.equal(torch.cat([piece.wav for piece in pieces]), SIGNAL[: 640 * 33])


def test_a_file_is_cut_into_windows_that_overlap() -> None:
    cut = [(window.start, len(window.crops), window.hop) for window in windows(numbered(40), 20, 5)]
    assert cut == [(0, 20, 15), (15, 20, 15), (30, 10, 10)]


def test_no_crops_give_no_windows() -> None:
    assert not list(windows(numbered(0), 150, 50))


def test_a_file_that_ends_with_a_window_needs_no_other() -> None:
    cut = list(windows(numbered(20), 20, 5))
    assert [(w.start, len(w.crops), w.hop) for w in cut] == [(0, 20, 15)]
    assert [len(piece.wav) // 640 for piece in joined(cut, 5)] == [15, 5]


@pytest.mark.parametrize("frames", [1, 4, 9, 30])
def test_a_sliding_window_makes_every_frame_final_once(frames: int) -> None:
    buffer = WindowBuffer(hop=3, lookahead=4, context=5)
    cut = [w for w in map(buffer.push, numbered(frames)) if w is not None]
    assert all(w.hop == 3 and len(w.crops) <= 12 for w in cut)
    last = buffer.finish()
    assert sum(w.hop for w in [*cut, *filter(None, [last])]) + (0 if last else 4) == frames
    pieces = joined([*cut, *filter(None, [last])], 0)
    assert torch.equal(torch.cat([piece.wav for piece in pieces]), SIGNAL[: 640 * frames])


def test_a_sliding_window_holds_context_hop_and_lookahead() -> None:
    buffer = WindowBuffer(hop=2, lookahead=1, context=3)
    cut = [w for w in map(buffer.push, numbered(9)) if w is not None]
    assert [numbers_of(w) for w in cut] == [
        [0, 1, 2],
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5, 6],
        [3, 4, 5, 6, 7, 8],
    ]
    assert [w.context for w in cut] == [0, 2, 3, 3]


def test_a_long_video_is_read_as_it_is_needed_and_forgotten() -> None:
    taken = 0

    def endless() -> Iterator[MouthCrop]:
        nonlocal taken
        for crop in numbered(65_000):
            taken += 1
            yield crop

    for count, window in enumerate(windows(endless(), 20, 5), 1):
        assert taken == 20 + 15 * (count - 1)
        assert len(window.crops) == 20
        if count == 30:
            break


def test_where_windows_differ_each_gives_the_features_of_half_their_overlap() -> None:
    join = WindowJoiner(6)
    first, second = windows(numbered(14), 10, 6)
    pieces = [join(first, *render(first, 0.0)), join(second, *render(second, 1.0)), join.finish()]
    found = torch.cat([piece.features.code_bits for piece in pieces])
    assert found.tolist() == [0.0] * 7 + [1.0] * 7


def test_without_overlap_the_newer_window_gives_all_features() -> None:
    buffer, join = WindowBuffer(hop=2, lookahead=2), WindowJoiner()
    first, second = (w for w in map(buffer.push, numbered(6)) if w is not None)
    join(first, *render(first, 0.0))
    assert join(second, *render(second, 1.0)).features.code_bits.tolist() == [1.0, 1.0]


def test_frames_keep_whether_a_face_was_detected_and_the_mouth_is_visible() -> None:
    pieces = joined(windows(numbered(12, "..iihh"), 5, 2), 2)
    detected = torch.cat([piece.detected for piece in pieces]).tolist()
    visible = torch.cat([piece.visible for piece in pieces]).tolist()
    assert detected == [True, True, False, False, False, False, *[True] * 6]
    assert visible == [True, True, True, True, False, False, *[True] * 6]
