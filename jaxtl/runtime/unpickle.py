"""Read a pickle without trusting it.

A pickle is a program: the standard loader imports and calls whatever the file names. This reader walks over the file's
instructions with ``pickletools.genops`` and carries out those that make plain values: numbers, strings, lists, tuples
and dictionaries. A name in the file is looked up in a table that the caller gives, and nothing is ever imported.

Time and memory are bounded: a file may have `MOST_INSTRUCTIONS`, no read goes beyond the end of the file, and keys of
dictionaries are short plain values, so that no hash or comparison walks through nested tuples.
"""

import dataclasses
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, cast

MOST_INSTRUCTIONS = 1_000_000  # a batch of CIFAR has less than a tenth, the checkpoint of a network less still

# Called with the arguments that the file gives; what it returns may have a method ``set_state(state)``.
StandIn = Callable[..., Any]
_Key = str | int | bytes | None

# Instructions whose argument is the value.
_PLAIN = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),  # of Python 2, which pickletools reads as latin-1
    }
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


class UnpickleError(Exception):
    """The pickle is damaged, or has an instruction that no file of plain values needs; the message says which."""


class ForbiddenError(UnpickleError):
    """The pickle names something that is not in the table; the message is the name."""


def unpickle(
    file: BinaryIO,
    stand_ins: Mapping[tuple[str, str], StandIn],
    *,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read the next pickle of a file; strings of Python 2 are read as latin-1.

    Args:
      file: positioned at the pickle; it is behind the pickle afterwards.
      stand_ins: what is called in place of a function or class, by (module, name).
      persistent: answers a persistent identifier; ``None``: they are refused.

    Raises:
      EOFError: the file ends before the pickle does.
      ForbiddenError: the pickle names anything else than the stand-ins.
      UnpickleError: it is damaged in another way.
    """
    machine = _Machine(stand_ins, persistent)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A name of the table, as the value that the file puts into its structures; ``call`` is its stand-in."""

    call: StandIn


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

    def __init__(self, stand_ins: Mapping[tuple[str, str], StandIn], persistent: Callable[[Any], Any] | None) -> None:
        self.result: Any = None
        self._stand_ins, self._persistent = stand_ins, persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._passed = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _PLAIN:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else plain_key(argument)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif not (self._collect(name) or self._call(name, argument) or name in ("PROTO", "FRAME")):
            raise UnpickleError(f"it has the instruction {name}")

    def _collect(self, name: str) -> bool:
        """Carry out an instruction that moves the stack, or makes or fills a collection; ``False``: it is another."""
        stack = self._stack
        match name:
            case "MARK":
                self._below.append(stack)
                self._stack = []
            case "STOP":
                self.result = stack.pop()
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple([stack.pop(place) for place in range(-int(name[-1]), 0)]))
            case "TUPLE" | "LIST":
                items = self._pop_mark()
                self._stack.append(tuple(items) if name == "TUPLE" else items)
            case "DICT":
                items = self._pop_mark()
                self._stack.append({})
                self._fill(items)
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self._pop_mark()
                if not isinstance(self._stack[-1], list):
                    raise UnpickleError(f"it appends to {type(self._stack[-1]).__name__}")
                self._stack[-1].extend(items)
            case "SETITEM":
                self._fill([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                self._fill(self._pop_mark())
            case _:
                return False
        return True

    def _call(self, name: str, argument: Any) -> bool:
        """Carry out an instruction that names, calls or changes an object; ``False``: it is another."""
        stack = self._stack
        match name:
            case "GLOBAL":
                self._look_up(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                self._look_up(stack.pop(-2), stack.pop())
            case "REDUCE" | "NEWOBJ":
                self._reduce(stack.pop(-2), stack.pop())
            case "BUILD":
                state, target = stack.pop(), stack[-1]
                if not callable(set_state := getattr(target, "set_state", None)):
                    raise UnpickleError(f"it sets the state of {type(target).__name__}")
                set_state(state)
            case "PERSID" | "BINPERSID":
                identifier = argument if name == "PERSID" else stack.pop()
                if self._persistent is None:
                    shown = repr(identifier) if isinstance(identifier, _Key) else type(identifier).__name__
                    raise ForbiddenError(f"the outside object {shown}")
                stack.append(self._persistent(identifier))
            case _:
                return False
        return True

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _fill(self, items: list[Any]) -> None:
        """Put keys and values in turn into the dictionary on top of the stack."""
        if not isinstance(self._stack[-1], dict):
            raise UnpickleError(f"it fills {type(self._stack[-1]).__name__} as a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._stack[-1][plain_key(key)] = value

    def _look_up(self, module: Any, name: Any) -> None:
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnpickleError("it has a name that is not text")
        if (module, name) not in self._stand_ins:
            raise ForbiddenError(f"{module}.{name}")
        self._stack.append(Name(self._stand_ins[module, name]))

    def _reduce(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise UnpickleError(f"it calls {type(function).__name__}")
        # A stand-in may copy its arguments, and the file may call it with the same long list again and again.
        self._passed += sum(len(each) for each in arguments if isinstance(each, list | tuple | dict))
        if self._passed > MOST_INSTRUCTIONS:
            raise UnpickleError(f"its calls take more than {MOST_INSTRUCTIONS:,} items")
        self._stack.append(function.call(*arguments))


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
