"""A pickle read as inert data: a small machine that builds containers, numbers, strings and views.

Python's unpickler imports what a file names and calls it; this one can do neither. `pickletools` splits the
bytes into opcodes, `OPCODES` below says what each does to a stack, and a name from the file is looked up in a
list of words. Names on the list become `Inert` records (what was named, its arguments, its state); any other
name ends the reading. Sizes the file claims are compared with the bytes that are there before anything is
built. Knows nothing of zip archives or fairseq.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

MAX_PICKLE_BYTES = 16 << 20  # data beside the weights: a large fine-tuned AV-HuBERT has about 1 MB
MAX_INT_BITS = 128  # torch's own magic number has 77
MAX_KEY_BITS = 64  # wider integers can be made to collide in a dict by the thousand
MAX_DIMS = 8
MAX_SIZE = 1 << 48  # of any one dimension, stride or offset: far beyond any file, far below overflow
SHOWN = 80  # characters of the file's own words in an error

PLAIN_KEYS = (str, int, float, bool, type(None))

DICTS = {"collections.OrderedDict", "collections.defaultdict"}
TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
PARAMETER = "torch._utils._rebuild_parameter"
OBJECT = "copyreg._reconstructor"
ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
WORDS = {
    *DICTS,
    *TENSORS,
    PARAMETER,
    OBJECT,
    *(f"torch.{name}" for name in ITEM_BYTES),
    *(
        f"builtins.{name}"
        for name in ("bool", "bytes", "dict", "float", "int", "list", "object", "set", "str", "tuple")
    ),
    *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")),
    "_codecs.encode",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "sentencepiece.SentencePieceProcessor",
    "torch.Size",
    "torch.device",
}
CLASS_PACKAGES = ("fairseq.", "omegaconf.")  # their classes (capitalised names) are words too
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
PYTHON_2_NAMES = {"builtins.long": "builtins.int", "builtins.unicode": "builtins.str"}


class ForeignFileError(ValueError):
    """A foreign checkpoint that is damaged, hostile, or of a kind the reader does not know."""


@dataclass(frozen=True)
class GlobalRef:
    """A class or function the file names; a word, never the thing itself."""

    path: str


@dataclass(eq=False)
class StubObject:
    """What the file would have had made: the name, the arguments and the state it gave."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class StorageRef:
    """Bytes of weights somewhere in the file."""

    key: str
    kind: str
    numel: int


@dataclass(frozen=True)
class TensorRef:
    """A view into a storage, already checked to lie inside it."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class PickleSource(Protocol):
    """Bytes to read opcodes from; `read` never allocates more than is there."""

    def read(self, count: int, /) -> bytes: ...

    def readline(self) -> bytes: ...

    def tell(self) -> int: ...


def shown(value: Any) -> str:
    """The file's own words, cut to a length an error can bear and printable."""
    # A container may hold itself, or be small here and endless when written out: only its type is named.
    text = str(value) if isinstance(value, PLAIN_KEYS) else type(value).__name__
    return text[:SHOWN].encode("unicode_escape").decode() + ("..." if len(text) > SHOWN else "")


def read_inert(
    source: PickleSource,
    find_storage: Callable[[Any], StorageRef],
    *,
    words: Collection[str] = WORDS,
    finish: Callable[[StubObject], Any] | None = None,
) -> Any:
    """The value of the pickle that starts at the source's position; the source then stands after it.

    Args:
        source: has read, readline and tell, and never reads beyond its end.
        find_storage: gives the storage of a persistent id, after checking its size.
        words: the names that the file may name, beside classes of `CLASS_PACKAGES`.
        finish: what takes the place of a record that was just given its state; it may move the source on.
    """
    machine = _PickleVM(find_storage, words, finish)
    start = source.tell()
    try:
        for opcode, arg, position in pickletools.genops(source):  # type: ignore[arg-type]
            if (position or 0) - start > MAX_PICKLE_BYTES:
                raise ForeignFileError(
                    f"the pickle is longer than {MAX_PICKLE_BYTES} bytes without its weights."
                )
            act = OPCODES.get(opcode.name)
            if act is None:
                raise ForeignFileError(
                    f"the pickle uses opcode {opcode.name}, which the reader does not know."
                )
            act(machine, arg)
        return machine.result()
    except ForeignFileError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ForeignFileError(
            f"the pickle is damaged ({type(error).__name__}: {shown(str(error))})."
        ) from None


class _PickleVM:
    """Stack, marks and memo of a pickle; every method does one kind of opcode's work."""

    def __init__(
        self,
        find_storage: Callable[[Any], StorageRef],
        words: Collection[str],
        finish: Callable[[StubObject], Any] | None,
    ) -> None:
        self.find_storage, self.words, self.finish = find_storage, words, finish
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise ForeignFileError("the pickle ends with values left over; it is damaged.")
        return self.stack[0]

    def push(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise ForeignFileError(f"{self.where()}: an integer of {value.bit_length()} bits.")
        self.stack.append(value)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop_tuple(self, size: int) -> None:
        items = [self.stack.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ForeignFileError(f"{self.where()}: items appended to a {shown(target)}.")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ForeignFileError(f"{self.where()}: keys set in a {shown(target)}.")
        target.update(zip(map(self.key, items[::2]), items[1::2], strict=True))

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise ForeignFileError(f"{self.where()}: members added to a {shown(target)}.")
        target.update(map(self.key, items))

    def key(self, value: Any) -> Any:
        """The value, if it may be a key: plain and too short to be made to collide by the thousand."""
        wide = isinstance(value, int) and value.bit_length() > MAX_KEY_BITS
        if type(value) not in PLAIN_KEYS or wide:
            raise ForeignFileError(
                f"{self.where()}: a {shown(value)} as a key; expected words or 64-bit numbers."
            )
        return value

    def name(self, module: Any, name: Any) -> None:
        """Push a name of the list; anything else ends the reading."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ForeignFileError("the pickle names something that is not a name.")
        path = f"{PYTHON_2.get(module, module)}.{name}"
        path = PYTHON_2_NAMES.get(path, path)
        last = path.rpartition(".")[2]
        is_class = path.startswith(CLASS_PACKAGES) and last.isidentifier() and last[0].isupper()
        if path not in self.words and not is_class:
            raise ForeignFileError(
                f"the file names {shown(path)}, which is not on the reader's list of data; it is refused, "
                "nothing of it was run. Get the weights as safetensors or from their official source."
            )
        self.stack.append(GlobalRef(path))

    def call(self) -> None:
        """REDUCE and NEWOBJ: what the file wants called becomes a dict, a tensor reference or a record."""
        args, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, GlobalRef) or not isinstance(args, tuple):
            raise ForeignFileError(f"{self.where()}: a {shown(what)} is called; only listed names may be.")
        if what.path in DICTS:
            value: Any = {}
        elif what.path in TENSORS:
            value = self.tensor(args)
        elif what.path == PARAMETER and args and isinstance(args[0], TensorRef):
            value = args[0]
        elif what.path == OBJECT and args and isinstance(args[0], GlobalRef):
            value = StubObject(args[0].path, ())
        else:
            value = StubObject(what.path, args)
        self.stack.append(value)

    def build(self) -> None:
        """BUILD: a record gets its state; attributes of an OrderedDict (`_metadata`) are not kept."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, StubObject):
            target.state = state
            if self.finish is not None:
                self.stack[-1] = self.finish(target)
        elif not isinstance(target, dict):
            raise ForeignFileError(f"{self.where()}: a state is given to a {shown(target)}.")

    def storage(self) -> None:
        self.stack.append(self.find_storage(self.stack.pop()))

    def tensor(self, args: tuple[Any, ...]) -> TensorRef:
        """A checked view from (storage, offset, shape, stride, ...), as torch's own `_rebuild_tensor_v2`."""
        storage, offset, shape, stride = args[:4]
        if not (isinstance(storage, StorageRef) and isinstance(shape, tuple) and isinstance(stride, tuple)):
            raise ForeignFileError(f"{self.where()}: a tensor without storage, shape or stride.")
        numbers = (offset, *shape, *stride)
        possible = all(type(n) is int and 0 <= n < MAX_SIZE for n in numbers)
        if not possible or len(shape) != len(stride) or len(shape) > MAX_DIMS:
            raise ForeignFileError(f"{self.where()}: a tensor with an impossible offset, shape or stride.")
        numel = 1
        for size in shape:
            numel *= size
        end = offset
        if numel:
            end += 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if numel > storage.numel or end > storage.numel:
            claim = f"shape {shape}, stride {stride}, offset {offset}"
            raise ForeignFileError(
                f"{self.where()}: a tensor of {claim} does not fit its storage of {storage.numel} values."
            )
        return TensorRef(storage, offset, shape, stride)

    def where(self) -> str:
        """The nearest string below on the stack: inside a dict it is the key of the value being built."""
        for stack in (self.stack, *reversed(self.marks)):
            for value in reversed(stack):
                if isinstance(value, str):
                    return shown(value)
        return "the pickle"


def _global(machine: _PickleVM, arg: str) -> None:
    module, _, name = arg.partition(" ")
    machine.name(module, name)


def _stack_global(machine: _PickleVM, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


def _set_item(machine: _PickleVM, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _nothing(machine: _PickleVM, _: Any) -> None:
    """PROTO, FRAME and STOP change no value."""


def _pushes(*names: str) -> dict[str, Callable[[_PickleVM, Any], None]]:
    return dict.fromkeys(names, lambda machine, arg: machine.push(arg))


OPCODES: dict[str, Callable[[_PickleVM, Any], object]] = {
    **_pushes("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    **_pushes("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    **_pushes("STRING", "BINSTRING", "SHORT_BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), lambda machine, arg: machine.put(arg)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, arg: machine.push(machine.memo[arg])),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.call()),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.pop_tuple(1),
    "TUPLE2": lambda machine, _: machine.pop_tuple(2),
    "TUPLE3": lambda machine, _: machine.pop_tuple(3),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.add_items(machine.since_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
}
"""What the machine can do. Absent on purpose: INST, OBJ, NEWOBJ_EX, EXT*, PERSID and buffers."""
