"""Runs a program in one process and its tests in another, which calls the program over pipes.

A script of its own that needs only the standard library; each side runs it in its own sandbox:

    apart.py program READ WRITE     receives the source of a program and serves calls to it
    apart.py tests READ WRITE       reads a JSON request from its input and prints JSON lines

The program never sees its tests, nor what they expect: it receives the arguments of each call and
sends its result back. Plain values cross by value and are compared by the tests' interpreter.
Other objects stay where they are; the other side holds a ``Remote`` that forwards to them.
"""

from __future__ import annotations

import ast
import builtins
import collections
import importlib
import io
import json
import operator
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

_MOST_BYTES = 32 << 20  # of one message
_MOST_OUTPUT = 1 << 20  # of what a program prints during one call
_SMALL = 1 << 63
_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    kind.__name__: kind for kind in (list, tuple, set, frozenset, collections.deque)
}
_MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": lambda items: collections.Counter(dict(items)),
    "defaultdict": lambda items: collections.defaultdict(None, items),
}
# Written as text; imported only when one of them crosses.
_BY_TEXT = {"Decimal": "decimal", "Fraction": "fractions"}
_BY_ISO = ("date", "datetime", "time")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
)
_BINARY = [f"__{name}__" for name in (*_COMPARISONS, *_ARITHMETIC, "and", "or", "xor")]
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__iter__": iter,
    "__next__": next,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__hash__": hash,
    "__int__": int,
    "__float__": float,
    "__neg__": operator.neg,
    "__abs__": abs,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__enter__": lambda on: type(on).__enter__(on),
    "__exit__": lambda on, *error: type(on).__exit__(on, *error),
    "__instancecheck__": lambda on, value: isinstance(value, on),
    "__call__": lambda on, *values, **named: on(*values, **named),
    **{name: getattr(operator, name) for name in _BINARY},
}


class Gone(Exception):
    """The other process ended, or what it sent makes no sense."""


class Remote:
    """An object of the other process."""

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        return self._peer.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("setattr", self, name, value)


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Remote, *values: Any, **named: Any) -> Any:
        return self._peer.ask(name, self, *values, **named)

    return method


def _compared(name: str) -> Callable[..., Any]:
    """An operator: what a test expects never reaches the program.

    The program decides between two of its own objects. A plain value is compared with the plain
    content of an object, which only subclasses of plain types have.
    """

    def method(self: Remote, other: Any) -> Any:
        if isinstance(other, Remote):
            return self._peer.ask(name, self, other)
        content = self._peer.ask("content", self)
        return NotImplemented if content is None else getattr(operator, name)(content[0], other)

    return method


for _name in _OPERATIONS:
    setattr(Remote, _name, (_compared if _name in _BINARY else _forwarded)(_name))


class Peer:
    """One side of the conversation: sends requests, and serves those of the other side.

    Args:
        trusting: Whether the other side may reach everything, as the tests may in the program. The
            program reaches only what the tests hand over, and public attributes of their objects.
    """

    def __init__(self, reading: int, writing: int, *, trusting: bool) -> None:
        self._reading = os.fdopen(reading, "rb")
        self._writing = os.fdopen(writing, "wb")
        self._trusting = trusting
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._remotes: dict[int, Any] = {}
        self.names: dict[str, Any] = {}
        self.printed: Callable[[], str] = str

    def ask(self, operation: str, *values: Any, **named: Any) -> Any:
        """What an operation on the other side returns; raises what it raises there."""
        sent = [self._encode(value) for value in values]
        pairs = {name: self._encode(value) for name, value in named.items()}
        self._send({"ask": operation, "values": sent, "named": pairs})
        while "ask" in (answer := self._receive()):
            self._serve(answer)
        if answer.get("printed"):
            sys.stdout.write(str(answer["printed"]))
        for old, new in zip(values, answer.get("changed") or (), strict=False):
            _update(old, self._decode(new))
        if "raised" in answer:
            raise self._raised(answer["raised"], operation)
        return self._decode(answer["value"])

    def serve(self) -> None:
        """Answer requests until the other side is gone."""
        while True:
            self._serve(self._receive())

    def say_hello(self) -> None:
        self._send({"hello": True})

    def hear_hello(self) -> bool:
        try:
            return "hello" in self._receive()
        except Gone:
            return False

    def _serve(self, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        values: list[Any] = []
        try:
            if not self._trusting and request["values"][0][0] != "yours":
                raise TypeError("only what the tests handed over can be used")
            values = [self._decode(value) for value in request["values"]]
            named = {name: self._decode(value) for name, value in request["named"].items()}
            result = self._perform(request["ask"], values, named)
            answer["value"] = self._encode(result)
        except Gone:
            raise
        except BaseException as error:  # noqa: BLE001 - what a program raises is its answer
            answer["raised"] = self._encode_error(error)
        changed = self._changed(request["values"], values)
        self._send(answer | {"changed": changed, "printed": self.printed()})

    def _perform(self, operation: str, values: list[Any], named: dict[str, Any]) -> Any:
        if operation == "content":
            return _content(values[0])
        if self._trusting:
            if operation == "run":
                return exec(compile(values[0], "<program>", "exec"), self.names)
            if operation == "name":
                return self.names[values[0]]
            if operation == "defined":
                return list(self.names)
        if operation in ("getattr", "setattr"):
            if not self._trusting and not self._may_reach(values[0], values[1]):
                raise AttributeError(values[1])
            return (getattr if operation == "getattr" else setattr)(*values)
        return _OPERATIONS[operation](*values, **named)

    def _may_reach(self, value: Any, name: str) -> bool:
        """Public names that classes of the tests or their objects have.

        What a base brings stays out: ``str.format`` reads every attribute of its arguments.
        """
        own = [kind for kind in type(value).__mro__ if kind.__module__ == self.names["__name__"]]
        named = any(name in vars(kind) for kind in own) or name in getattr(value, "__dict__", ())
        return bool(own) and named and not name.startswith("_")

    def _changed(self, sent: list[Any], values: list[Any]) -> list[Any] | None:
        """Arguments again, if a call changed one in place."""
        try:
            now = [self._encode(value) for value in values]
        except Exception:  # noqa: BLE001 - a program may put anything there
            return None
        return now if now != sent else None

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._writing.write(json.dumps(message).encode() + b"\n")
            self._writing.flush()
        except OSError as error:
            raise Gone from error

    def _receive(self) -> dict[str, Any]:
        line = self._reading.readline(_MOST_BYTES)
        if not line:
            raise Gone("the program ended before its tests did")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Gone("the program sent an invalid answer") from error
        if not isinstance(message, dict) or not message.keys() & {
            "ask",
            "value",
            "raised",
            "hello",
        }:
            raise Gone("the program sent an invalid answer")
        return message

    def _encode(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if abs(value) < _SMALL else ["int", hex(value)]
        name = kind.__name__
        if _SEQUENCES.get(name) is kind:
            return [name, [self._encode(item) for item in value]]
        if kind in (dict, collections.OrderedDict, collections.Counter, collections.defaultdict):
            return [name, [[self._encode(key), self._encode(item)] for key, item in value.items()]]
        if kind in (bytes, bytearray):
            return [name, value.hex()]
        if kind is complex:
            return [name, [value.real, value.imag]]
        if kind is range:
            return [name, [value.start, value.stop, value.step]]
        if kind is slice:
            return [name, [self._encode(part) for part in (value.start, value.stop, value.step)]]
        if kind is type({}.keys()):
            return [name, [self._encode(item) for item in value]]
        if kind.__module__ == _BY_TEXT.get(name):
            return [name, str(value)]
        if kind.__module__ == "datetime" and name in _BY_ISO:
            return [name, value.isoformat()]
        if isinstance(value, Remote):
            return ["yours", value._number]
        if isinstance(value, type) and getattr(builtins, name := value.__name__, None) is value:
            return ["type", name]
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["error type", self._keep(value), name, _builtin_base(value)]
        if isinstance(value, BaseException):
            return ["error", self._encode_error(value)]
        return ["object", self._keep(value)]

    def _decode(self, sent: Any) -> Any:
        if not isinstance(sent, list):
            if isinstance(sent, dict):
                raise Gone("the program sent an invalid value")
            return sent
        name, *content = sent
        first = content[0]
        if name in _SEQUENCES:
            return _SEQUENCES[name]([self._decode(item) for item in first])
        if name in _MAPPINGS:
            return _MAPPINGS[name]([(self._decode(k), self._decode(v)) for k, v in first])
        if name == "dict_keys":
            return dict.fromkeys(self._decode(item) for item in first).keys()
        if name == "int":
            return int(first, 16)
        if name in ("bytes", "bytearray"):
            return getattr(builtins, name).fromhex(first)
        if name in ("complex", "range", "slice"):
            return getattr(builtins, name)(*map(self._decode, first))
        if name in _BY_TEXT:
            return getattr(importlib.import_module(_BY_TEXT[name]), name)(first)
        if name in _BY_ISO:
            return getattr(importlib.import_module("datetime"), name).fromisoformat(first)
        if name == "yours":
            return self._kept[first]
        if name == "type" and isinstance(found := getattr(builtins, first, None), type):
            return found
        if name == "error type":
            return self._error_type(*content)
        if name == "error":
            return self._raised(first, "__next__")
        if name == "object":
            return self._remotes.setdefault(first, Remote(self, first))
        raise Gone("the program sent an invalid value")

    def _keep(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._kept))
        if number == len(self._kept):
            self._kept.append(value)
        return number

    def _encode_error(self, error: BaseException) -> list[Any]:
        try:
            content = [[self._encode(value) for value in error.args], self._encode(vars(error))]
        except Exception:  # noqa: BLE001 - a program may put anything there
            content = [[], ["dict", []]]
        return [self._encode(type(error)), *content]

    def _error_type(self, number: int, name: str, base: str) -> Any:
        found = getattr(builtins, base)
        if not issubclass(found, BaseException):
            raise Gone("the program sent an invalid exception")
        return self._remotes.setdefault(number, type(str(name), (found,), {}))

    def _raised(self, sent: list[Any], operation: str) -> BaseException:
        kind, values, attributes = map(self._decode, (sent[0], ["list", sent[1]], sent[2]))
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise Gone("the program sent an invalid exception")
        if issubclass(kind, StopIteration) and operation != "__next__":
            # It would end a loop of the tests early (PEP 479 has the same reason).
            return RuntimeError("the program raised StopIteration")
        try:
            error = kind(*values)
        except TypeError:
            error = kind.__new__(kind)
        error.__dict__.update(attributes)
        return error


def _builtin_base(kind: type) -> str:
    return next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")


def _content(value: Any) -> tuple[Any] | None:
    """The plain value that an object of a subclass of a plain type is."""
    plain: tuple[Any, ...] = (int, float, str, bytes, tuple, list, set, frozenset, dict)
    for kind in plain:
        if isinstance(value, kind):
            copied = kind.__new__(kind, value)
            if kind in (list, set, dict):
                kind.__init__(copied, value)
            return (copied,)
    return None


def _update(old: Any, new: Any) -> None:
    """Give a container the content of another one, and keep the identity of what it holds."""
    if type(old) is not type(new) or old is new:
        return
    if isinstance(old, (list, collections.deque)):
        kept = list(old)
        old.clear()
        old.extend(new)
        for index, (before, now) in enumerate(zip(kept, new, strict=False)):
            if type(before) is type(now) and isinstance(before, (list, dict, set)):
                _update(before, now)
                old[index] = before
    elif isinstance(old, tuple):
        for before, now in zip(old, new, strict=False):
            _update(before, now)
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new


class _Names(dict[str, Any]):
    """Global names of the tests: their own, then the program's.

    A built-in name is the program's only if the tests use no other name of it: so a program that
    is called ``sum`` is tested, and one that replaces ``abs`` beside its answer gains nothing.
    """

    def __init__(self, peer: Peer, used: Iterable[str]) -> None:
        super().__init__(__name__="__main__", __builtins__=builtins)
        self._peer = peer
        defined = set(used).intersection(peer.ask("defined"))
        named = [name for name in defined if not hasattr(builtins, name)]
        self._built_in = set() if named else defined

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._built_in:
            raise KeyError(name)
        return self._peer.ask("name", name)


class _Output(io.RawIOBase):
    """Keeps what is printed, up to a bound."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._kept += bytes(data)[: _MOST_OUTPUT - len(self._kept)]
        return len(data)

    def taken(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        self._kept.clear()
        return text


def _limit(memory_mib: int, file_mib: int) -> None:
    """Bound this process; the sandbox allows no other."""
    mib = 1 << 20
    for kind, bound in {
        resource.RLIMIT_AS: memory_mib * mib,
        resource.RLIMIT_FSIZE: file_mib * mib,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }.items():
        resource.setrlimit(kind, (bound, bound))


def _silence() -> None:
    """Point input, output and errors at nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def run_program(reading: int, writing: int, memory_mib: int, file_mib: int) -> None:
    """Serve the program until the tests are done."""
    _silence()
    _limit(memory_mib, file_mib)
    peer = Peer(reading, writing, trusting=True)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    peer.names = module.__dict__
    output = _Output()
    sys.stdout = io.TextIOWrapper(output, "utf-8", "backslashreplace", write_through=True)
    peer.printed = output.taken
    peer.say_hello()
    try:
        peer.serve()
    except Gone:
        os._exit(0)


def run_tests(reading: int, writing: int, memory_mib: int, file_mib: int) -> None:
    """Start the program, run its tests, and print how they ended."""
    request = json.loads(sys.stdin.buffer.read())
    told = os.fdopen(os.dup(1), "w")
    _silence()
    _limit(memory_mib, file_mib)

    def tell(result: str, detail: str = "") -> None:
        told.write(json.dumps({"result": result, "detail": detail}) + "\n")
        told.flush()

    peer = Peer(reading, writing, trusting=False)
    if not peer.hear_hello():
        os._exit(0)
    tell("ready")
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # ends this process
    try:
        _test(peer, request["program"], request["tests"])
    except Gone as error:
        tell("crash", str(error))
    except MemoryError:
        tell("memory", "MemoryError")
    except BaseException as error:  # noqa: BLE001 - whatever the tests raise is the outcome
        tell("failed", f"{type(error).__name__}: {error}"[:400].partition("\n")[0][:200])
    else:
        tell("passed")
    os._exit(0)


def _test(peer: Peer, program: str, tests: list[str]) -> None:
    peer.ask("run", program)
    trees = [ast.parse(test) for test in tests]
    used = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names = _Names(peer, used)
    peer.names = names
    # What the program imports, tests have always been able to use; theirs is the real one.
    for node in ast.parse(program).body:
        for alias in node.names if isinstance(node, ast.Import) else ():
            name = alias.asname or alias.name.partition(".")[0]
            if name in used and alias.name.partition(".")[0] in sys.stdlib_module_names:
                names[name] = importlib.import_module(alias.name if alias.asname else name)
    for tree in trees:
        exec(compile(tree, "<tests>", "exec"), names)


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    side = run_program if sys.argv[1] == "program" else run_tests
    side(*map(int, sys.argv[2:6]))
