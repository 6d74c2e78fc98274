"""Malicious and damaged checkpoints: each is refused, nothing is executed, little memory is taken."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lip2speech.importers.fairseq import read_fairseq
from lip2speech.importers.foreign_file import BoundedReader, ForeignFileError
from lip2speech.importers.torch_file import StorageRef, TorchFile, TorchUnpickler
from tests.importers.pickle_builders import (
    CALLS,
    FOUR,
    TERA,
    Raw,
    body,
    call,
    document,
    name,
    storage,
    tensor,
    write_legacy,
    write_zip,
)

pytestmark = pytest.mark.usefixtures("watched")

STACK_GLOBAL = Raw(body("os") + body("system") + b"\x93" + body(("touch MARK",)) + b"R")
OPCODES: dict[str, bytes] = {
    "INST": b"(" + body("touch MARK") + b"ios\nsystem\n.",
    "OBJ": b"(" + name("argparse.Namespace") + body("x") + b"o.",
    "EXT1": b"\x82\x01.",
    "PERSID": b"Pstorage\n.",
    "BYTEARRAY8": b"\x96" + (8).to_bytes(8, "little") + b"12345678.",
    "NEXT_BUFFER": b"\x97.",
    "NEWOBJ_EX": b"\x80\x04" + name("argparse.Namespace") + b")}\x92.",
}

WEIGHTS: dict[str, tuple[Any, str]] = {
    "a storage that claims 4 TB": (
        tensor(stored=storage(numel=TERA)),
        "claims 4398046511104 bytes and has 16",
    ),
    "a view of 2^20 x 2^20": (
        tensor((1 << 20, 1 << 20), (1 << 20, 1)),
        "model.w: .*does not fit its storage of 4",
    ),
    "a view repeated 2^40 times": (
        tensor((1 << 20, 1 << 20), (0, 0)),
        "does not fit its storage of 4 values",
    ),
    "a view that starts outside": (tensor(offset=1), "w: .*does not fit"),
    "a negative stride": (tensor(stride=(2, -1)), "w: .*impossible"),
    "a shape of words": (tensor(("a", "b")), "w: .*impossible"),
    "an empty view of immense size": (tensor((0, 1 << 62), (1, 1)), "w: .*impossible"),
    "too many dimensions": (tensor((1,) * 20, (1,) * 20), "w: .*impossible"),
    "a storage that is not there": (tensor(stored=storage("7")), "storage 7 is not in the file"),
    "a key that leaves its folder": (tensor(stored=storage("../data.pkl")), "is not in the file"),
    "numbers of no known type": (tensor(stored=storage(kind="device")), "not a type of weights"),
    "a storage of negative length": (tensor(stored=storage(numel=-4)), "without a key or a length"),
    "a persistent id of nonsense": (tensor(stored=Raw(body(("x",)) + b"Q")), "unknown way"),
    "words for weights": ("hello", "w: expected a tensor, got hello"),
    "a tuple as a key": ({(1, 2): 3}, "tuple as a key"),
    "integers made to collide": ({(2**61 - 1) << 40: 1}, "2535301200456458801893894782976 as a key"),
    "an immense integer": (1 << 4000, "opcode LONG4"),
    "a state for a list": (Raw(body([1]) + body({}) + b"b"), "state is given to a list"),
    "keys for a word": (Raw(body("x") + body("k") + body(1) + b"s"), "keys are set in a x"),
}

DAMAGED: dict[str, bytes] = {
    "cut off": document({"model": {}})[:-3],
    "no opcode": b"\x80\x02\xff.",
    "empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02t.",
    "no memo": b"\x80\x02h\x07.",
    "two values": b"\x80\x02NN.",
    "bytes that are not there": b"\x80\x04\x8e" + TERA.to_bytes(8, "little") + b"x.",
    "text that is not there": b"\x80\x04\x8d" + TERA.to_bytes(8, "little") + b"x.",
    "nothing": b"",
}


def refused(path: Path, message: str) -> None:
    """The file is refused in one line that names it and never recommends an unsafe load."""
    with pytest.raises(ForeignFileError, match=message) as error:
        read_fairseq(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "weights_only" not in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("fmt", ["zip", "legacy"])
@pytest.mark.parametrize("path", CALLS)
def test_a_global_outside_the_allowlist_is_refused(tmp_path: Path, path: str, fmt: str) -> None:
    write = write_zip if fmt == "zip" else write_legacy
    contents = {"model": {"w": tensor()}, "extra_state": CALLS[path]}
    refused(write(tmp_path / "x.pt", contents), f"names {path}, which is not on the allowlist")


def test_a_global_built_on_the_stack_is_refused(tmp_path: Path) -> None:
    refused(
        write_zip(tmp_path / "x.pt", {"model": STACK_GLOBAL}),
        "names os.system, which is not on the allowlist",
    )


def test_a_refused_name_is_shortened_and_escaped(tmp_path: Path) -> None:
    ugly = Raw(b"cos\nsystem" + b"\x1b[31m" + b"x" * 900 + b"\n")
    refused(write_zip(tmp_path / "x.pt", {"model": ugly}), r"os.system\\x1b\[31mx+\.\.\.")


@pytest.mark.parametrize("opcode", OPCODES)
def test_an_opcode_outside_the_allowlist_is_refused(tmp_path: Path, opcode: str) -> None:
    refused(write_zip(tmp_path / "x.pt", b"\x80\x02" + OPCODES[opcode]), f"opcode {opcode}")


def test_the_result_of_a_call_is_not_callable(tmp_path: Path) -> None:
    twice = Raw(body(call("argparse.Namespace")) + body(("touch MARK",)) + b"R")
    refused(write_zip(tmp_path / "x.pt", {"model": twice}), "model: a StubObject is called")


@pytest.mark.parametrize("kind", WEIGHTS)
def test_declared_sizes_that_do_not_fit_are_refused(tmp_path: Path, kind: str) -> None:
    value, message = WEIGHTS[kind]
    refused(write_zip(tmp_path / "x.pt", {"model": {"model.w": value}}), message)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_pickles_are_refused(tmp_path: Path, kind: str) -> None:
    refused(write_zip(tmp_path / "x.pt", DAMAGED[kind]), "pickle")


def test_a_huge_memo_index_takes_no_memory(tmp_path: Path) -> None:
    sparse = Raw(b"Nr" + (2**32 - 1).to_bytes(4, "little"))
    path = write_zip(tmp_path / "x.pt", {"model": {"w": tensor()}, "args": sparse})
    assert read_fairseq(path).model["w"].tolist() == [[0, 1], [2, 3]]


def test_deep_nesting_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    deep = Raw(b"]" * 20_000 + b"a" * 19_999)
    assert read_fairseq(write_zip(tmp_path / "x.pt", {"model": {"w": tensor()}, "args": deep})).model


def test_a_shared_storage_is_read_once(tmp_path: Path) -> None:
    data = bytes(4 << 20)
    stored = storage(numel=1 << 20)
    weights = {f"w{n}": tensor((1 << 20,), (1,), stored=stored) for n in range(200)}
    with TorchFile(write_zip(tmp_path / "x.pt", {"model": weights}, {"0": data})) as file:
        model = file.tensors(file.contents["model"])
    assert len({weight.data_ptr() for weight in model.values()}) == 1


def test_a_deflate_bomb_is_refused(tmp_path: Path) -> None:
    bomb = tensor((1 << 28,), (1,), stored=storage(numel=1 << 28))
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", document({"model": {"w": bomb}}))
        with archive.open("archive/data/0", "w") as entry:
            for _ in range(16):
                entry.write(bytes(1 << 20))
    refused(path, "is compressed")


def test_entries_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", {"model": {"w": tensor(stored=storage(numel=1 << 28))}})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last directory record, that of data/0
    data[at + 20 : at + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(data)
    refused(path, "claim more than the file's")


def test_a_changed_weight_is_detected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", {"model": {"w": tensor()}})
    data = bytearray(path.read_bytes())
    data[data.index(FOUR) + 5] ^= 1
    path.write_bytes(data)
    refused(path, "w: Bad CRC-32")


def test_invalid_archives_are_refused(tmp_path: Path) -> None:
    good = {"model": {"w": tensor()}}
    refused(write_zip(tmp_path / "script.pt", good, constants__pkl=b"x"), "TorchScript")
    refused(write_zip(tmp_path / "big.pt", good, byteorder=b"big"), "big-endian")
    twin = write_zip(tmp_path / "twin.pt", good)
    with zipfile.ZipFile(twin, "a") as archive:
        archive.writestr("other/data.pkl", document(good))
    refused(twin, "2 data.pkl")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w") as archive:
        archive.writestr("a.txt", "x")
    refused(tmp_path / "empty.pt", "0 data.pkl")
    with zipfile.ZipFile(tmp_path / "again.pt", "w") as archive:
        archive.writestr("archive/data.pkl", document(good))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", document(good))
    refused(tmp_path / "again.pt", "two entries of one name")


def test_legacy_files_with_inconsistent_storages_are_refused(tmp_path: Path) -> None:
    good = {"model": {"w": tensor()}}
    path = tmp_path / "x.pt"
    huge = {"model": {"w": tensor(stored=storage(numel=TERA))}}
    refused(write_legacy(path, huge, lengths=(TERA,)), "claims 1099511627776 values")
    refused(write_legacy(path, good, lengths=(3,)), "another length")
    refused(write_legacy(path, good, keys=("1",)), "list of storages")
    refused(write_legacy(path, good, keys=("0", "0")), "listed twice")
    refused(write_legacy(path, good, data=FOUR[:7]), "claims 4 values|ends too early")
    both = {"model": {"w": tensor(), "v": tensor(stored=storage(kind="LongStorage"))}}
    refused(write_legacy(path, both), "described in two ways")


def test_other_files_are_refused(tmp_path: Path) -> None:
    for kind, data in {
        "nothing": b"",
        "text": b"hello world\n",
        "noise": os.urandom(4000),
        "zip": b"PK\x03\x04x",
    }.items():
        (tmp_path / kind).write_bytes(data)
        refused(tmp_path / kind, "PyTorch file|zip")
    refused(write_zip(tmp_path / "list.pt", [1, 2]), "not a fairseq checkpoint")
    refused(write_zip(tmp_path / "bare.pt", {"generator": {}}), "expected a mapping with `model`")
    refused(tmp_path / "absent.pt", "cannot be read")
    refused(tmp_path, "not a file")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "not a file")


class Storages:
    """Accepts any storage."""

    contents = None

    def check_storage(self, pid: tuple[Any, ...], ref: StorageRef) -> None:
        pass

    def read(self, ref: StorageRef) -> bytearray:
        return bytearray(ref.n_bytes)


def test_any_flipped_byte_is_read_or_refused() -> None:
    """Hundreds of damaged pickles; none may raise another error."""
    settings = {"heads": 4, "x": [1.5, None, True], "name": "a"}
    good = document({"model": {"w": tensor()}, "cfg": settings})
    refusals = 0
    for at in range(len(good)):
        for flip in (0x01, 0x40):
            bad = bytearray(good)
            bad[at] ^= flip
            try:
                TorchUnpickler(BoundedReader(io.BytesIO(bad)), Storages()).load()
            except ForeignFileError:
                refusals += 1
    assert refusals > len(good) / 2
