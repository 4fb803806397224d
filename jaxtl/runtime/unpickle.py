"""Read a pickle without trusting it.

A pickle is a program: the standard loader imports and calls whatever the file names. This reader walks over the file's
instructions with ``pickletools.genops`` and carries out those that make plain values: numbers, strings, lists, tuples
and dictionaries. A name in the file is looked up in a table that the caller gives, and nothing is ever imported.

Time and memory are bounded: a file may have `MOST_INSTRUCTIONS`, no read goes beyond the end of the file, and keys of
dictionaries are short plain values, so that no hash or comparison walks through nested tuples.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, Literal, NoReturn, cast

MOST_INSTRUCTIONS = 1_000_000  # a batch of CIFAR has less than a tenth, the checkpoint of a network less still

# Called with the arguments that the file gives; what it returns may have a method ``set_state(state)``.
StandIn = Callable[..., Any]
_Key = str | int | bytes | None


class UnpickleError(Exception):
    """The pickle is damaged, or has an instruction that no file of plain values needs; the message says which."""


class ForbiddenError(UnpickleError):
    """The pickle names something that is not in the table; the message is the name."""


def unpickle(
    file: BinaryIO,
    stand_ins: Mapping[tuple[str, str], StandIn],
    *,
    persistent: Callable[[Any], Any] | None = None,
    strings: Literal["bytes", "utf-8"] = "utf-8",
) -> Any:
    """Read the next pickle of a file.

    Args:
      file: positioned at the pickle; it is behind the pickle afterwards.
      stand_ins: what is called in place of a function or class, by (module, name).
      persistent: answers a persistent identifier; ``None``: they are refused.
      strings: how strings of Python 2 are returned.

    Raises:
      EOFError: the file ends before the pickle does.
      ForbiddenError: the pickle names anything else than the stand-ins.
      UnpickleError: it is damaged in another way.
    """
    machine = _Machine(stand_ins, persistent, strings)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], _ExactFile(file)))):
            if count >= MOST_INSTRUCTIONS:
                raise UnpickleError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")
            machine.step(instruction.name, argument)
    except (EOFError, UnpickleError):
        raise
    except Exception as error:  # garbage raises anything: an empty stack, a shape that does not fit, a number too long
        raise UnpickleError(str(error) or type(error).__name__) from error
    return machine.result


class Name:
    """A name of the table, as the value that the file puts into its structures."""

    __slots__ = ("call", "name")

    def __init__(self, name: tuple[str, str], call: StandIn) -> None:
        self.name, self.call = name, call


class _ExactFile:
    """A file whose read raises ``EOFError`` where the bytes asked for are not there, before memory is taken."""

    def __init__(self, file: BinaryIO) -> None:
        here = file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(here)
        self._file = file

    def read(self, size: int) -> bytes:
        if size > self._end - self._file.tell():
            raise EOFError
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line


class _Machine:
    """The stack, its marks and the memo of a pickle."""

    def __init__(
        self, stand_ins: Mapping[tuple[str, str], StandIn], persistent: Callable[[Any], Any] | None, strings: str
    ) -> None:
        self.result: Any = None
        self._stand_ins, self._persistent, self._strings = stand_ins, persistent, strings
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._passed = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _NUMBERS_AND_TEXT:
            self._stack.append(argument)
        elif name in _PYTHON_2_STRINGS:  # pickletools reads them as latin-1
            raw = argument.encode("latin-1")
            self._stack.append(raw if self._strings == "bytes" else raw.decode(self._strings))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[plain_key(argument)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif action := getattr(self, f"_{name.lower()}", None):
            action(argument)
        elif name not in ("PROTO", "FRAME"):
            raise UnpickleError(f"it has the instruction {name}")

    def _pop_mark(self, _: Any = None) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _stop(self, _: Any) -> None:
        self.result = self._stack.pop()

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _tuple1(self, _: Any) -> None:
        self._stack.append((self._stack.pop(),))

    def _tuple2(self, _: Any) -> None:
        self._stack.append((self._stack.pop(-2), self._stack.pop()))

    def _tuple3(self, _: Any) -> None:
        self._stack.append((self._stack.pop(-3), self._stack.pop(-2), self._stack.pop()))

    def _tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _list(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append({})
        self._fill(items)

    def _append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise UnpickleError(f"it appends to {type(self._stack[-1]).__name__}")
        self._stack[-1].extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._fill([key, value])

    def _setitems(self, _: Any) -> None:
        self._fill(self._pop_mark())

    def _fill(self, items: list[Any]) -> None:
        """Put keys and values in turn into the dictionary on top of the stack."""
        if not isinstance(self._stack[-1], dict):
            raise UnpickleError(f"it fills {type(self._stack[-1]).__name__} as a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._stack[-1][plain_key(key)] = value

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._look_up(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnpickleError("it has a name that is not text")
        self._look_up(module, name)

    def _look_up(self, module: str, name: str) -> None:
        if (module, name) not in self._stand_ins:
            raise ForbiddenError(f"{module}.{name}")
        self._stack.append(Name((module, name), self._stand_ins[module, name]))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise UnpickleError(f"it calls {type(function).__name__}")
        # A stand-in may copy its arguments, and the file may call it with the same long list again and again.
        self._passed += sum(len(each) for each in arguments if isinstance(each, list | tuple | dict))
        if self._passed > MOST_INSTRUCTIONS:
            raise UnpickleError(f"its calls take more than {MOST_INSTRUCTIONS:,} items")
        self._stack.append(function.call(*arguments))

    _newobj = _reduce

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if not callable(set_state := getattr(target, "set_state", None)):
            raise UnpickleError(f"it sets the state of {type(target).__name__}")
        set_state(state)

    def _persid(self, argument: Any) -> None:
        if self._persistent is None:
            self._refuse_outside(argument)
        self._stack.append(self._persistent(argument))

    def _binpersid(self, _: Any) -> None:
        self._persid(self._stack.pop())

    def _refuse_outside(self, identifier: Any) -> NoReturn:
        shown = repr(identifier) if isinstance(identifier, _Key) else type(identifier).__name__
        raise ForbiddenError(f"the outside object {shown}")


def plain_key(key: Any) -> Any:
    """A key of a dictionary, whose hash takes no time and is not chosen by the file.

    Raises:
      UnpickleError: it is of another type, or a number of more than 60 bits.
    """
    if not isinstance(key, _Key):
        raise UnpickleError(f"it has {type(key).__name__} as the key of a dictionary")
    if isinstance(key, int) and key.bit_length() > 60:  # where hashes of numbers begin to repeat
        raise UnpickleError("it has a number of more than 60 bits as a key")
    return key


_NUMBERS_AND_TEXT = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    }
)
_PYTHON_2_STRINGS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
