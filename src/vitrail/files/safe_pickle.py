"""A pickle reader that cannot run anything: it builds tensors and plain containers, and leaves the rest inert.

Python's unpickler is a small machine whose programs may call whatever they can import. This one interprets the same
programs over plain data: a global name is pushed as a `Name`, never imported, and "calling" it builds one of the few
things in `_COPIERS` and `_BUILDERS` or else an inert `Foreign`. Attributes are never set and methods of loaded objects
never called. PyTorch's own `weights_only=True` refuses files with foreign classes altogether, and before version 2.6 it
could be made to run code (CVE-2025-32434), which is why it is not used.

A file may also be made to fill the memory or to crash the interpreter. Hence the limits: nothing is copied that the
pickle did not spell out, nothing deep is hashed or printed, and numbers are checked before anything is made of them.
"""

from __future__ import annotations

import math
import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

from vitrail.errors import CheckpointError

# Elements of a tensor that repeats its storage; real checkpoints hold masks of that kind at most.
MAX_EXPANDED = 1 << 24
# A model of 400 tensors with its averages and its optimizer takes 60,000; each makes an object of 220 bytes at most.
MAX_INSTRUCTIONS = 2_000_000
MAX_DIMENSIONS = 64
MAX_NAME = 500


@dataclass(frozen=True)
class Name:
    """A global name that a pickle mentions; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, eq=False)
class Foreign:
    """What stands where an object of an unknown class was; its contents are dropped."""

    kind: str


@dataclass(frozen=True, eq=False)
class Storage:
    """The flat memory that tensors are views of."""

    values: Tensor


STORAGE_DTYPES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}

# Names of the standard library that honest checkpoints mention. All are inert here; the list only decides which files
# are let through with the object dropped, and which are refused because nothing but an attack would name the thing.
_HARMLESS_MODULES = frozenset(
    "_codecs argparse collections copy_reg copyreg dataclasses datetime decimal enum fractions functools logging "  # noqa: SIM905
    "numbers operator pathlib random re time types typing uuid zoneinfo".split()
)
_HARMLESS_BUILTINS = frozenset(
    "Ellipsis NotImplemented NoneType abs bool bytearray bytes complex dict float frozenset getattr int len list "  # noqa: SIM905
    "long max min object print property range round set slice sorted str sum tuple type unicode xrange".split()
)
_BUILTIN_MODULES = ("builtins", "__builtin__")


class PickleReader:
    """Interprets one pickle.

    Parameters
    ----------
    stream : file
        Binary, with `read`, `readline` and `tell`; read up to the end of the pickle and no further.
    source : str
        The name of the file, for messages.
    storage : callable
        Turns the persistent id of a storage, a tuple that begins with "storage", into a `Storage`.
    """

    def __init__(self, stream: IO[bytes], source: str, storage: Callable[[tuple[Any, ...]], Storage]) -> None:
        self.stream = stream
        self.source = source
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def read(self) -> Any:
        """Return the pickled value.

        Raises
        ------
        CheckpointError
            When the pickle is damaged, or mentions something that only a program would.
        """
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(self.stream)):
                if opcode.name == "STOP":
                    return self.stack.pop()
                if count >= MAX_INSTRUCTIONS:
                    raise CheckpointError(
                        f"{self.source} is refused: its pickle has more than {MAX_INSTRUCTIONS:,} instructions, as no "
                        "checkpoint has"
                    )
                self._step(opcode.name, argument)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error)[:200]  # it may quote the file
            raise CheckpointError(f"{self.source} is damaged: its pickle cannot be read ({reason})") from error
        raise CheckpointError(f"{self.source} is damaged: its pickle has no end")

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _HANDLERS:
            _HANDLERS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise CheckpointError(f"{self.source}: its pickle uses the instruction {opcode}, which no checkpoint needs")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _memorise(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def _tuple(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _list(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(dict(zip(map(_key, items[::2]), items[1::2], strict=True)))

    def _frozenset(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(frozenset(map(_key, items)))

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend(self.stack[-1], [item])

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        self._extend(self.stack[-1], items)

    def _extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(map(_key, items))
        elif not isinstance(target, Foreign):
            raise TypeError(f"items appended to {type(target).__name__}")

    def _set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _set_items(self, _: Any) -> None:
        items = self._since_mark()
        self._set(self.stack[-1], items)

    def _set(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, dict):
            target.update(zip(map(_key, items[::2]), items[1::2], strict=True))
        elif not isinstance(target, Foreign):
            raise TypeError(f"items set in {type(target).__name__}")

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._checked(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._checked(module, name))

    def _checked(self, module: str, name: str) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global name that is not text")
        if len(module) + len(name) > MAX_NAME or not (module + name).isprintable():
            raise ValueError("a global name that no class has")
        root = module.partition(".")[0]
        known = root in sys.stdlib_module_names or root in ("__builtin__", "copy_reg", "commands")
        harmless = name in _HARMLESS_BUILTINS if module in _BUILTIN_MODULES else module in _HARMLESS_MODULES
        if known and not harmless:
            raise CheckpointError(
                f"{self.source} is not just data: its pickle calls for {module}.{name}, which would run code when "
                "loaded the usual way. Nothing was run. Do not trust this file."
            )
        return Name(module, name)

    def _instance(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._since_mark()
        self.stack.append(Foreign(str(self._checked(module, name))))

    def _object(self, _: Any) -> None:
        kind, *_arguments = self._since_mark()
        self.stack.append(_inert(kind))

    def _new_object(self, _: Any) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.stack.append(self._built(kind, arguments))

    def _new_object_ex(self, _: Any) -> None:
        del self.stack[-2:]
        self.stack.append(_inert(self.stack.pop()))

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self._built(function, arguments))

    def _built(self, function: Any, arguments: Any) -> Any:
        """Build what a pickle calls for, from arguments that it spelt out.

        An honest pickle writes down the items of every container once and then makes the container of them; one that
        copies more than its own length repeats itself to fill the memory.
        """
        if not isinstance(arguments, tuple):
            raise TypeError(f"arguments in a {type(arguments).__name__}")
        name = str(function) if isinstance(function, Name) else ""
        if name in _COPIERS:
            self.copied += sum(len(part) for part in arguments if isinstance(part, (*_CONTAINERS, str, bytes)))
            if self.copied > self.stream.tell():
                raise ValueError("it copies more than it holds")
            return _COPIERS[name](*arguments)
        return _BUILDERS[name](*arguments) if name in _BUILDERS else _inert(function)

    def _drop_state(self, _: Any) -> None:
        self.stack.pop()

    def _persistent(self, _: Any) -> None:
        identity = self.stack.pop()
        if not isinstance(identity, tuple) or identity[:1] != ("storage",):
            raise ValueError("an object outside the pickle that is not a tensor's storage")
        self.stack.append(self.storage(identity))


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "  # noqa: SIM905
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8".split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_HANDLERS: Mapping[str, Callable[[PickleReader, Any], None]] = {
    "MARK": PickleReader._mark,
    "POP": PickleReader._pop,
    "POP_MARK": PickleReader._pop_mark,
    "DUP": PickleReader._duplicate,
    "GET": PickleReader._recall,
    "BINGET": PickleReader._recall,
    "LONG_BINGET": PickleReader._recall,
    "PUT": PickleReader._memorise,
    "BINPUT": PickleReader._memorise,
    "LONG_BINPUT": PickleReader._memorise,
    "MEMOIZE": PickleReader._memorise,
    "TUPLE": PickleReader._tuple,
    "TUPLE1": lambda reader, _: reader._tuple_of(1),
    "TUPLE2": lambda reader, _: reader._tuple_of(2),
    "TUPLE3": lambda reader, _: reader._tuple_of(3),
    "LIST": PickleReader._list,
    "DICT": PickleReader._dict,
    "FROZENSET": PickleReader._frozenset,
    "APPEND": PickleReader._append,
    "APPENDS": PickleReader._appends,
    "ADDITEMS": PickleReader._appends,
    "SETITEM": PickleReader._set_item,
    "SETITEMS": PickleReader._set_items,
    "GLOBAL": PickleReader._global,
    "STACK_GLOBAL": PickleReader._stack_global,
    "INST": PickleReader._instance,
    "OBJ": PickleReader._object,
    "NEWOBJ": PickleReader._new_object,
    "NEWOBJ_EX": PickleReader._new_object_ex,
    "REDUCE": PickleReader._reduce,
    "BUILD": PickleReader._drop_state,
    "BINPERSID": PickleReader._persistent,
}


def _key(value: Any) -> Any:
    """Return a value that may be hashed; tuples in tuples may not, since hashing deep ones overflows C's stack."""
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if part is not None and not isinstance(part, (str, bytes, int, float, Name, Foreign)):
            raise TypeError(f"a key of type {type(part).__name__}")
    return value


def _inert(kind: Any) -> Foreign:
    if not isinstance(kind, (Name, Foreign)):
        raise TypeError(f"a call of a {type(kind).__name__}")
    return Foreign(kind.kind if isinstance(kind, Foreign) else str(kind))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise TypeError(f"a tensor over {type(storage).__name__}")
    values = storage.values
    if len(size) > MAX_DIMENSIONS or not all(map(is_count, (offset, *size, *stride))):
        raise ValueError(f"a tensor that does not lie within its {values.numel()} values")
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    if elements and (last >= values.numel() or elements > max(values.numel(), MAX_EXPANDED)):
        raise ValueError(f"a tensor {size} that does not lie within its {values.numel()} values")
    return values.as_strided(size, stride, offset) if elements else values.new_empty(size)


def is_count(value: Any) -> bool:
    """Return whether a value out of a pickle is a number of things, small enough to calculate with."""
    return type(value) is int and 0 <= value < 1 << 63


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    if str(function) != "torch._utils._rebuild_tensor_v2":
        return _inert(function)
    return _tensor(*arguments)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode(encoding)


def _items(items: Any = ()) -> Any:
    if not isinstance(items, _CONTAINERS):
        raise TypeError(f"the items of a {type(items).__name__}")
    return items


def _list(items: Any = ()) -> list[Any]:
    return list(_items(items))


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    return tuple(_items(items))


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else _items(items)
    return {_key(key): value for key, value in pairs}


def _without_factory(_factory: Any = None, *items: Any) -> dict[Any, Any]:
    return _dictionary(*items)


def _set(items: Any = ()) -> set[Any]:
    return set(map(_key, _items(items)))


def _frozen_set(items: Any = ()) -> frozenset[Any]:
    return frozenset(map(_key, _items(items)))


_CONTAINERS = (list, tuple, set, frozenset, dict)
_COPIERS: Mapping[str, Callable[..., Any]] = {
    "torch.Size": _tuple,
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": _without_factory,
    "_codecs.encode": _encoded,
    **{f"{module}.dict": _dictionary for module in _BUILTIN_MODULES},
    **{f"{module}.list": _list for module in _BUILTIN_MODULES},
    **{f"{module}.tuple": _tuple for module in _BUILTIN_MODULES},
    **{f"{module}.set": _set for module in _BUILTIN_MODULES},
    **{f"{module}.frozenset": _frozen_set for module in _BUILTIN_MODULES},
}
_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.serialization._get_layout": str,
    **{f"{module}.{kind.__name__}": kind for module in _BUILTIN_MODULES for kind in (bool, int, float, complex)},
}
