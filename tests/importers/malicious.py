"""Malicious files, each with the reader it is given to and the message it is refused with.

Code in them would create a file MARK or import the module `marked`; neither may happen.
"""

import json
from dataclasses import dataclass

from tests.importers.file_builders import (
    GOOD,
    TERA,
    Build,
    codes,
    data,
    deflate_bomb,
    endless,
    entry,
    extra,
    fifo,
    flipped,
    in_folder,
    link_entry,
    link_to,
    many_layers,
    npy,
    objects,
    ours,
    overlapping_entries,
    patched,
    pickled,
    safetensors,
    settings_with,
    tar,
    weight,
    zip_of,
)
from tests.importers.pickle_builders import Raw, body, call, document, name, new, storage, tensor


@dataclass(frozen=True)
class MaliciousFile:
    """A malicious file: the reader it is given to, its builder, a pattern of the refusal."""

    reader: str
    build: Build
    message: str


REACH = Raw(
    body("os") + b"q\x01" + body("system") + b"q\x02" + b"h\x01h\x02\x93" + body(("touch MARK",)) + b"R"
)
DOTTED = Raw(body("argparse") + body("Namespace.__init__") + b"\x93" + body(("x",)) + b"R")
TOO_LONG = b"\x80\x02" + b"N0" * (9 << 20) + b"N."
SCRIPT = b"#!/bin/sh\ntouch MARK\nexit 0\n"
VIEW = Raw(
    body(("storage", name("torch.FloatStorage"), "0", "cpu", 4, ("0", 0, 4))) + b"Q"
)  # a storage that is part of another
TWICE = b'{"w": %s, "w": %s}' % ((json.dumps(entry([4])).encode(),) * 2)
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)

CODE_EXECUTION: dict[str, MaliciousFile] = {
    "a system call": MaliciousFile("avhubert", extra(call("os.system", "touch MARK")), "names os.system"),
    "the same by its C module": MaliciousFile(
        "avhubert", extra(call("posix.system", "touch MARK")), "names posix"
    ),
    "the same before zip": MaliciousFile(
        "avhubert", pickled({**GOOD, "x": call("os.system", "touch MARK")}, legacy=True), "names os.system"
    ),
    "a name put together on the stack": MaliciousFile(
        "avhubert", pickled({"model": REACH}), "names os.system"
    ),
    "a method by a dotted name": MaliciousFile(
        "avhubert", extra(DOTTED), "names argparse.Namespace.__init__"
    ),
    "eval under its Python 2 name": MaliciousFile(
        "avhubert", extra(call("__builtin__.eval", "open('MARK', 'w')")), "names builtins.eval"
    ),
    "getattr on a listed class": MaliciousFile(
        "avhubert",
        extra(call("builtins.getattr", name("argparse.Namespace"), "__init__")),
        "names builtins.getattr",
    ),
    "an import by a call": MaliciousFile(
        "avhubert", extra(call("builtins.__import__", "marked")), "__import__"
    ),
    "an object of a module beside the file": MaliciousFile(
        "avhubert", extra(new("marked.Thing", {})), "marked.Thing"
    ),
    "a module inside a trusted package": MaliciousFile(
        "avhubert", extra(call("fairseq.os.system", "touch MARK")), "names fairseq.os.system"
    ),
    "code objects": MaliciousFile("avhubert", extra(call("types.CodeType", 0, 0)), "names types.CodeType"),
    "marshalled code": MaliciousFile("avhubert", extra(call("marshal.loads", b"c")), "names marshal.loads"),
    "a pickle in a pickle": MaliciousFile(
        "avhubert", extra(call("torch.storage._load_from_bytes", document(1))), "_load_from_bytes"
    ),
    "a notebook's compiler": MaliciousFile(
        "avhubert", extra(call("ctypes.CDLL", "./x.so")), "names ctypes.CDLL"
    ),
    "a result that is called": MaliciousFile(
        "avhubert",
        pickled({"model": Raw(call("argparse.Namespace") + body(("touch MARK",)) + b"R")}),
        "a StubObject is called",
    ),
    "opcode INST": MaliciousFile(
        "avhubert", pickled(b"\x80\x02(" + body("touch MARK") + b"ios\nsystem\n."), "opcode INST"
    ),
    "opcode OBJ": MaliciousFile(
        "avhubert", pickled(b"\x80\x02(" + name("os.system") + b"o."), "names os.system"
    ),
    "opcode NEWOBJ_EX": MaliciousFile(
        "avhubert", pickled(b"\x80\x04" + name("argparse.Namespace") + b")}\x92."), "opcode NEWOBJ_EX"
    ),
    "opcode EXT1": MaliciousFile("avhubert", pickled(b"\x80\x02\x82\x01."), "opcode EXT1"),
    "opcode PERSID": MaliciousFile("avhubert", pickled(b"\x80\x02Pstorage\n."), "opcode PERSID"),
    "opcode NEXT_BUFFER": MaliciousFile("avhubert", pickled(b"\x80\x02\x97."), "opcode NEXT_BUFFER"),
    "a state for a list": MaliciousFile(
        "avhubert", extra(Raw(body([1]) + body({}) + b"b")), "state is given"
    ),
    "a pickle for transformers": MaliciousFile(
        "encodec", in_folder(b"{}", document(call("os.system", "touch MARK"))), "pytorch_model.bin: .*PyTorch"
    ),
    "a folder's tag": MaliciousFile(
        "folder", ours("kind: !!python/object/apply:os.system ['touch MARK']\n"), "tags are not accepted"
    ),
    "a folder's expression": MaliciousFile("folder", ours("kind: ${oc.env:HOME}\n"), "is an expression"),
    "a folder's class path": MaliciousFile(
        "folder", ours("kind: codec\nname: os.system\ncodec: {}\n"), "no codec is"
    ),
    "an array of objects": MaliciousFile("vector", objects, "no plain numbers"),
    "an array's header that is code": MaliciousFile(
        "vector", data(npy("__import__('os').system('touch MARK')"), "x.npy"), "not a speaker embedding"
    ),
    "a pickle for an array": MaliciousFile(
        "vector", data(document(call("os.system", "touch MARK")), "x.npy"), "no plain numbers"
    ),
}
"""Files that try to execute code."""

RESOURCE_EXHAUSTION: dict[str, MaliciousFile] = {
    "4 TB of storage": MaliciousFile("avhubert", weight(tensor(stored=storage(numel=TERA))), "and has 16"),
    "4 TB before zip": MaliciousFile(
        "avhubert",
        pickled({"model": {"w": tensor(stored=storage(numel=TERA))}}, legacy=True, lengths=(TERA,)),
        "claims 1099511627776 values",
    ),
    "a view of 2^20 x 2^20": MaliciousFile(
        "avhubert", weight(tensor((1 << 20,) * 2, (1 << 20, 1))), "does not fit"
    ),
    "a view repeated without end": MaliciousFile(
        "avhubert", weight(tensor((1 << 20,) * 2, (0, 0))), "does not fit"
    ),
    "three thousand layers of one storage": MaliciousFile(
        "avhubert", many_layers, "3000 tensors claim 12582912000"
    ),
    "an integer of 4000 bits": MaliciousFile("avhubert", extra(1 << 4000), "opcode LONG4"),
    "integers made to collide": MaliciousFile("avhubert", extra({((1 << 61) - 1) << 40: 1}), "as a key"),
    "nested tuples as a key": MaliciousFile(
        "avhubert", extra(Raw(b"})" + b"\x85" * 1_000_000 + b"Ns")), "a tuple as a key"
    ),
    "a byteorder record of megabytes": MaliciousFile(
        "avhubert", pickled(GOOD, byteorder=b"little" + bytes(64 << 20)), "big-endian"
    ),
    "a pickle without end": MaliciousFile("avhubert", pickled(TOO_LONG), "longer than 16777216 bytes"),
    "a text of a terabyte": MaliciousFile(
        "avhubert", pickled(b"\x80\x04\x8d" + TERA.to_bytes(8, "little") + b"x."), "pickle is damaged"
    ),
    "a deflate bomb": MaliciousFile("avhubert", deflate_bomb, "is compressed"),
    "an entry larger than its zip": MaliciousFile(
        "avhubert", patched(20, (1 << 30).to_bytes(4, "little") * 2), "claim more than the file's"
    ),
    "entries that overlap": MaliciousFile("avhubert", overlapping_entries, "claim more than the file's"),
    "a device": MaliciousFile("avhubert", link_to("/dev/zero"), "not a file"),
    "a head of 2^63 bytes": MaliciousFile("encodec", safetensors({}, length=1 << 63), "its header claims"),
    "a head beyond the file": MaliciousFile(
        "encodec", safetensors({}, length=100), "its header claims 100 bytes of"
    ),
    "a head of megabytes": MaliciousFile(
        "encodec", safetensors(None, raw=b" " * (5 << 20)), "its header claims 5242880"
    ),
    "a tensor of 2^80 values": MaliciousFile(
        "encodec", safetensors({"w": entry([1 << 40, 1 << 40])}), "not a valid safetensors file"
    ),
    "a file of holes": MaliciousFile(
        "encodec", safetensors({"w": entry([4])}, grow=1 << 40), "1099511627768 bytes"
    ),
    "a nest of brackets": MaliciousFile("encodec", safetensors(None, raw=b"[" * 200_000), "not valid JSON"),
    "settings of megabytes": MaliciousFile(
        "encodec", in_folder(b" " * (2 << 20)), "longer than 1048576 bytes"
    ),
    "settings without end": MaliciousFile(
        "encodec", in_folder(link_to("/dev/zero")), "config.json: not a file"
    ),
    "a billion layers": MaliciousFile(
        "encodec", in_folder(settings_with(num_residual_layers=10**9)), "is 1000000000"
    ),
    "a billion laughs": MaliciousFile("folder", ours(LAUGHS), "aliases are not accepted"),
    "a config of megabytes": MaliciousFile(
        "folder", ours("# " + "x" * (2 << 20)), "larger than 1048576 bytes"
    ),
    "a config nested without end": MaliciousFile(
        "folder", ours("a: " + "[" * 500_000), "nested deeper than 50"
    ),
    "an array of 2^40 numbers": MaliciousFile(
        "vector",
        data(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"), "x.npy"),
        "not a speaker embedding",
    ),
    "codes for 2^63 samples": MaliciousFile("codes", codes(samples=1 << 63), "the file has 1"),
}
"""Files that try to exhaust memory or time."""

INCONSISTENT: dict[str, MaliciousFile] = {
    "a negative stride": MaliciousFile("avhubert", weight(tensor(stride=(2, -1))), "impossible"),
    "a view that begins outside": MaliciousFile("avhubert", weight(tensor(offset=1)), "does not fit"),
    "twenty dimensions": MaliciousFile("avhubert", weight(tensor((1,) * 20, (1,) * 20)), "impossible"),
    "a storage with a path for a key": MaliciousFile(
        "avhubert", weight(tensor(stored=storage("../data.pkl"))), "is not in the file"
    ),
    "numbers of no known type": MaliciousFile(
        "avhubert", weight(tensor(stored=storage(kind="device"))), "not a type"
    ),
    "storages that overlap": MaliciousFile(
        "avhubert", pickled({"model": {"w": tensor(stored=VIEW)}}, legacy=True), "is a view of another"
    ),
    "one storage of two types": MaliciousFile(
        "avhubert",
        pickled({"model": {"w": tensor(), "v": tensor(stored=storage(kind="LongStorage"))}}, legacy=True),
        "described in two ways",
    ),
    "a list that holds itself": MaliciousFile(
        "avhubert", pickled({"model": endless()}), "expected named weights"
    ),
    "values left over": MaliciousFile("avhubert", pickled(b"\x80\x02NN."), "values left over"),
    "a pickle cut off": MaliciousFile("avhubert", pickled(document(GOOD)[:-3]), "pickle"),
    "a zip in a zip": MaliciousFile(
        "avhubert", data(zip_of(("archive/data.pkl", zip_of(("a", b"x"))))), "pickle"
    ),
    "two pickles": MaliciousFile(
        "avhubert", data(zip_of(("a/data.pkl", document(GOOD)), ("b/data.pkl", document(GOOD)))), "2 data.pkl"
    ),
    "a pickle that is a link": MaliciousFile(
        "avhubert", data(zip_of((link_entry(), b"/etc/passwd"))), "pickle"
    ),
    "a TorchScript program": MaliciousFile("avhubert", pickled(GOOD, constants__pkl=b"x"), "TorchScript"),
    "an encrypted entry": MaliciousFile("avhubert", patched(8, b"\x01\x00"), "is encrypted"),
    "a changed weight": MaliciousFile("avhubert", flipped, "w.*|CRC-32"),
    "a script that is a zip too": MaliciousFile(
        "avhubert", data(SCRIPT + zip_of(("archive/data.pkl", document(GOOD)))), "not a PyTorch file"
    ),
    "a zip's first bytes alone": MaliciousFile("avhubert", data(b"PK\x03\x04" + bytes(100)), "x.pt"),
    "a tar": MaliciousFile("avhubert", tar, "not a PyTorch file"),
    "a link to itself": MaliciousFile("avhubert", link_to("x.pt"), "cannot be read"),
    "a pipe": MaliciousFile("avhubert", fifo, "not a file"),
    "a head with one name twice": MaliciousFile("encodec", safetensors(None, raw=TWICE), "duplicate key"),
    "tensors that overlap": MaliciousFile(
        "encodec", safetensors({"a": entry([4]), "b": entry([2], 0, 8)}), "not a valid safetensors file"
    ),
    "a hole between tensors": MaliciousFile(
        "encodec", safetensors({"a": entry([1], 0, 4), "b": entry([1], 12, 16)}), "not a valid"
    ),
    "a tensor outside the file": MaliciousFile(
        "encodec", safetensors({"a": entry([4], 16, 32)}), "not a valid"
    ),
    "a negative size": MaliciousFile("encodec", safetensors({"a": entry([-4])}), "not a valid"),
    "a type of no numbers": MaliciousFile(
        "encodec", safetensors({"a": entry([4], dtype="PY")}), "not a valid"
    ),
    "a head that is a list": MaliciousFile("encodec", safetensors([1]), "expected a mapping"),
    "settings that are no number": MaliciousFile(
        "encodec", in_folder(b'{"sampling_rate": NaN}'), "NaN is not a number"
    ),
    "codes of another codec": MaliciousFile("codes", codes(), "comes from another codec"),
    "codes cut off": MaliciousFile("codes", codes(samples=3200), "cut off or damaged"),
}
"""Files that are inconsistent or of another format."""

FILES = {**CODE_EXECUTION, **RESOURCE_EXHAUSTION, **INCONSISTENT}
