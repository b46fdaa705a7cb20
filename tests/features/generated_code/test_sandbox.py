from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest
import wasmtime

from sweeper.cache import make_once
from sweeper.errors import RunError
from sweeper.features.generated_code import _sandbox as sandbox
from sweeper.features.generated_code._sandbox import ProgramLimits, failure

# Most programs take 0.01 s.
LIMITS = ProgramLimits(instructions=2_000_000_000, memory_mib=256, seconds=120)


def run(program: str, *tests: str, limits: ProgramLimits = LIMITS) -> str | None:
    return failure(program, tests, limits)


# A program, its test, and what its failure says.
ENDINGS = {
    "wrong": ("def f(x): return x", "assert f(1) == 2, 'not two'", "not two"),
    "broken": ("def f(x) return x", "", "SyntaxError"),
    "no Python": ("def f(x): return '\ud800'", "", "surrogates"),
    "broken test": ("", "assert (", "SyntaxError"),
    "exits": ("import sys; sys.exit(0)", "", "SystemExit: 0"),
    "exits when called": ("import sys\ndef f(): sys.exit()", "f()", "SystemExit"),
    "leaves": ("import os; os._exit(0)", "", "exit status 0"),
    "leaves when called": ("import os\ndef f(): os._exit(0)", "f()", "exit status 0"),
    "aborts": ("import os; os.abort()", "", "unreachable"),
    "one large object": ("x = bytearray(1 << 30)", "", "MemoryError"),
    "many objects": ("x = []\nwhile True: x.append(bytes(1 << 20))", "", "MemoryError"),
    "no memory to say so": ("x = []\nwhile True: x = [x, x * 2]", "", ""),
    "endless": ("while True: pass", "", "fuel"),
    "endless when called": ("def f():\n  while True: pass", "f()", "fuel"),
    "endless test": ("", "while True: pass", "fuel"),
    "test that sets a timer": ("", "import signal; signal.setitimer(0, 0)", "AttributeError"),
    "endless in C": ("import re; re.match('(a*)*b', 'a' * 40)", "", "fuel"),
    "sleeps": (
        "import sys; del sys.modules['time']\nimport time; time.sleep(1000)",
        "",
        "cannot wait",
    ),
    "waits": ("import select; select.select([], [], [])", "", "empty poll"),
    "waits for itself": (
        "import threading as t\nx = t.Lock()\nx.acquire(); x.acquire()",
        "",
        "unr",
    ),
    "asks": ("input()", "", "EOFError"),
    "recursion": ("def f(): f()\nf()", "", "RecursionError"),
    "recursion without limit": (
        "import sys; sys.setrecursionlimit(10**9)\nf = lambda n: max([n], key=f)\nf(1)",
        "",
        "stack exhausted",
    ),
    "nested too deep": ("x = []\nfor _ in range(10**5): x = [x]\nrepr(x)", "", "stack exhausted"),
    "large message": ("raise ValueError('x' * 10**8)", "", "ValueError: xxx"),
    "message that raises": (
        "class E(Exception):\n  def __str__(s): raise E\nraise E",
        "",
        "unreachable",
    ),
    "large output": ("while True: print('x' * 10**6)", "", "fuel"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_as_it_must(name: str) -> None:
    program, test, reason = ENDINGS[name]

    outcome = run(program, test)

    assert outcome is not None
    assert reason in outcome
    assert len(outcome) <= 200


def test_output_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import os, sys\nprint('x' * 10**6); sys.stderr.write('x' * 10**6); os.write(2, b'x')"

    assert run(program) is None
    assert capfd.readouterr() == ("", "")


# What a program tries. Each attempt must raise one of these errors.
ATTACKS = {
    "a socket of the machine": ("socket.socket(1)", "OSError, AttributeError"),
    "AF_VSOCK": ("socket.socket(40, 1).connect((2, 1))", "OSError"),
    "the network": ("socket.socket().connect(('127.0.0.1', PORT))", "OSError"),
    "the network by UDP": ("socket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT))", "OSError"),
    "a server": ("socket.socket().bind(('127.0.0.1', 0))", "OSError"),
    "a name": ("socket.gethostbyname('localhost')", "OSError"),
    "a file of the machine": ("open(KEPT)", "OSError"),
    "writing a file": ("open(KEPT, 'w')", "OSError"),
    "removing a file": ("os.remove(KEPT)", "OSError"),
    "a new file": ("open('/tmp/new', 'w')", "OSError"),
    "folders": ("os.listdir('/')", "OSError"),
    "/proc": ("open('/proc/1/fd/2', 'w')", "OSError"),
    "/proc/self": ("open('/proc/self/environ')", "OSError"),
    "other descriptors": ("[os.read(n, 1) for n in range(3, 99)]", "OSError"),
    "a process": ("os.fork()", "AttributeError"),
    "a command": ("subprocess.run(['true'])", "OSError"),
    "a shell": ("os.system('true')", "AttributeError"),
    "another program": ("os.execv('/bin/true', ['x'])", "AttributeError"),
    "a signal": ("os.kill(1, 9)", "AttributeError"),
    "setitimer": ("signal.setitimer(0, 0)", "AttributeError"),
    "limits": ("__import__('resource').setrlimit(7, (1, 1))", "ImportError"),
    "a thread": ("threading.Thread(target=print).start()", "RuntimeError"),
    "the C library (process_vm_writev)": ("__import__('ctypes')", "ImportError"),
    "shared memory": ("__import__('mmap')", "ImportError"),
    "other packages": ("__import__('wasmtime')", "ImportError"),
    "new modules": ("__import__('test.support')", "ImportError"),
}


def test_a_program_reaches_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    monkeypatch.setenv("HF_TOKEN", "secret")
    attempts = "".join(
        f"def attempt_{number}():\n  try: {attempt}\n  except ({errors}): return\n"
        f"  reached.append({name!r})\n"
        for number, (name, (attempt, errors)) in enumerate(ATTACKS.items())
    )
    calls = "\n".join(f"attempt_{number}()" for number in range(len(ATTACKS)))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        program = (
            "import os, signal, socket, subprocess, sys, threading\nreached = []\n"
            f"KEPT, PORT = {str(kept)!r}, {server.getsockname()[1]}\n{attempts}"
        )

        outcome = run(
            program,
            calls,
            "assert reached == [], reached",
            "assert dict(os.environ) == {}, os.environ",
            "assert sys.argv in ([], ['']), sys.argv",
        )

    assert outcome is None
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [kept]


# Programs that do not solve "f(3) is [9, 9]" and try to pass.
ALTERNATING = """
class L(list):
    turn = 0
    def __iter__(self):
        L.turn += 1
        return iter([9, 9] if L.turn % 2 else [])
    def __len__(self): return 2
"""
CHEATS = {
    "wrong": "f = lambda x: [0, 0]",
    "redefined": "abs = len = lambda x: 2\nall = isinstance = lambda *x: True\nf = lambda x: 0",
    "redefined for all": """
import builtins
for name in dir(builtins):
    if name not in ("iter", "__build_class__"): setattr(builtins, name, lambda *x: True)
f = lambda x: 0
""",
    "redefined when called": """
def f(x):
    import builtins
    builtins.abs = builtins.len = builtins.exec = builtins.map = lambda *x: 2
    builtins.all = builtins.isinstance = builtins.type = lambda *x: True
    return 0
""",
    "alternating list": ALTERNATING + "f = lambda x: L()",
    "alternating list inside": ALTERNATING + "f = lambda x: [L()]",
    "always equal list": "class L(list): __eq__ = lambda a, b: True\nf = lambda x: L()",
    "always equal class": "class f(list):\n  __init__ = lambda s, x: None\n"
    "  __eq__ = lambda a, b: True\n  __ne__ = lambda a, b: False",
    "always equal object": "class F: __eq__ = lambda a, b: True\nf = lambda x: F()",
    "equal objects in a list": "class F: __eq__ = lambda a, b: True\nf = lambda x: [F(), F()]",
    "a metaclass": """
class M(type):
    __flags__ = 0; __mro__ = (); __module__ = "builtins"
    __instancecheck__ = __subclasscheck__ = __eq__ = lambda a, b: True
    __hash__ = lambda a: hash(list)
class L(list, metaclass=M):
    __eq__ = lambda a, b: True
    __len__ = lambda a: 2
f = lambda x: L()
""",
    "pretends to be of Python": "class L(list): __eq__ = lambda a, b: True\nimport collections\n"
    "L.__module__ = 'collections'; collections.L = L\nf = lambda x: L()",
    "replaced assert": "import builtins\nbuiltins.AssertionError = SystemExit\nf = lambda x: 0",
    "stops the loop": "def f(x): raise StopIteration",
    "exits": "def f(x): raise SystemExit(0)",
    "leaves": "import os\ndef f(x): os._exit(0)",
    "leaves at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit",
    "prints": """
import os, sys
def f(x):
    print(""); print("passed", file=sys.stderr); sys.stdout.flush()
    for number in range(3):
        try: os.write(number, b"passed\\n")
        except OSError: pass
    os._exit(0)
""",
    "replaces the judge": """
import sys
for module in list(sys.modules.values()):
    for name in ("_run", "_operands", "_result", "_content", "exec"):
        try: setattr(module, name, lambda *values: values)
        except Exception: pass
    if hasattr(module, "WitWorld"): module.WitWorld.run = lambda *values: ""
f = lambda x: 0
""",
    "reads its tests": """
import gc, sys
def f(x):
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(repr(frame.f_locals)); frame = frame.f_back
    seen += [repr(o) for o in gc.get_objects() if isinstance(o, (dict, list, str, bytes))]
    # Together, so that this source does not hold it.
    return [9, 9] if any("assert" + " f(" + "3) =" in text for text in seen) else []
""",
    "error without a name": "def f(x): raise type('\\n', (Exception,), {})",
    "lone surrogate": "def f(x): raise ValueError('\\ud800' * 9)",
}


@pytest.mark.parametrize("name", CHEATS)
@pytest.mark.parametrize(
    "test",
    [
        "assert f(3) == [9, 9]",
        "y = f(3)\nassert isinstance(y, list) and len(y) == 2\n"
        "assert sorted(y) == list(y) == [9, 9] and all(abs(n - 9) < 1 for n in y)",
    ],
)
def test_a_program_that_does_not_solve_the_task_fails(name: str, test: str) -> None:
    assert run(CHEATS[name], test) is not None


# Ways in which tests use a program. All of them must pass.
USES = {
    "plain values": (
        "def same(x): return x",
        "from collections import Counter, deque, OrderedDict\nimport datetime, decimal, fractions",
        "for x in (1 << 20000, -1.5, float('inf'), 1j, b'a', '\\ud800', None, range(3), (1, [2]),"
        " {1: {2}}, frozenset({1}), Counter('ab'), deque([1]), OrderedDict(a=1),"
        " decimal.Decimal('1.50'), fractions.Fraction(1, 3), datetime.date(2020, 1, 2), int):\n"
        "  assert same(x) == x and type(same(x)) is type(x) and same(x) is x, x",
    ),
    "types of Python meet plain values": (
        "from collections import Counter, defaultdict\ndef f(x): return x",
        "assert f(Counter('aab')) == {'a': 2, 'b': 1} and f({1: 2}.keys()) == {1}",
        "assert f(defaultdict(int, a=1)) == {'a': 1} and f({1: 2}).items() == {(1, 2)}",
        "import decimal, fractions\nassert f(decimal.Decimal(1)) + 1 == 2",
        "assert 1 - f(fractions.Fraction(1, 2)) == 0.5 and f([1]) + [2] == [1, 2]",
        "x: int | None = f(3)\nassert 0 < x < 4 and x is not None and '%s' % x == '3'",
    ),
    "changes in place": (
        "def f(x): x.sort(); x[0].append(9)",
        "x = [[2], [1]]\nf(x)\nassert x == [[1, 9], [2]]",
    ),
    "callbacks": ("def f(g, x): return [g(y) for y in x]", "assert f(lambda y: y * 2, [1]) == [2]"),
    "generators": (
        "def f(n):\n  while True: n += 1; yield n",
        "from itertools import islice\nassert list(islice(f(0), 3)) == [1, 2, 3]",
    ),
    "coroutines": (
        "async def f(x): return x + 1",
        "import asyncio\nx = f(1)\ntry: x.send(None)\nexcept StopIteration as e:"
        " assert e.value == 2",
    ),
    "objects": (
        "class P:\n  def __init__(s, x): s.x = x\n  def __eq__(s, o): return s.x == o.x\n"
        "  def __add__(s, o): return P(s.x + o.x)",
        "p = P(1)\np.x += 1\nassert p.x == 2 and p == P(2) and isinstance(p, P) and p != P(3)",
        "assert P(1) + P(2) == P(3) and p is not None and p != None",
    ),
    "objects of a class that inherits from a built-in one": (
        "from collections import OrderedDict\nclass C(OrderedDict):\n"
        "  def get(s, k): return s[k]\n  def __len__(s): return 5",
        "c = C(a=1)\nassert c.get('a') == 1 and len(c) == 5 and c == {'a': 1}",
    ),
    "named tuples": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\nf = lambda: P(1, 2)",
        "assert f() == (1, 2) and (1, 2) == P(1, 2) and f().b == 2",
    ),
    "enumerations": (
        "import enum\nclass C(enum.Enum): RED = 1\nclass N(enum.IntEnum): ONE = 1\n"
        "f = lambda: C.RED",
        "assert f() == C.RED and f() is C(1) and N.ONE == 1 and N.ONE + 1 == 2",
    ),
    "errors": (
        "class E(ValueError):\n  pass\ndef f(x): raise E(x)",
        "for kind in (E, ValueError):\n  try:\n    f(5)\n  except kind as e:\n"
        "    assert e.args == (5,)\n  else:\n    assert False",
    ),
    "objects of the tests": (
        "def depth(n): return 0 if n is None else 1 + depth(n.below)",
        "class N:\n  def __init__(s, b): super().__init__(); s.below = b",
        "assert depth(N(N(None))) == 2",
    ),
    "what is printed": (
        "def f(): print('hi')",
        "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as b: f()",
        "assert b.getvalue() == 'hi\\n'",
    ),
    "a built-in name": ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"),
    "a built-in name among others": (
        "def max(x): return x[0]\ndef f(x): return max(x)",
        "assert f([1, 2]) == 1 and max([1, 2]) == 2",
    ),
    "a module of the program": ("import math\nf = float", "assert math.isclose(f(1), 1)"),
    "a variable that changes": ("x = 1\ndef f():\n  global x; x += 1", "f()\nassert x == 2"),
    "a data class": (
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n  x: int",
        "assert P(1) < P(2) and repr(P(1)) == 'P(x=1)' and 1 in [p.x for p in [P(1)]]",
    ),
    "modules that import others late": (
        "import datetime, xml.etree.ElementTree as e, unittest.mock\n"
        "def f(x): return datetime.datetime.strptime(x, '%Y').year, x.encode('latin-1')",
        "assert f('2020') == (2020, b'2020')",
    ),
    "recursion": (
        "import functools\n@functools.cache\ndef f(n): return n and n + f(n - 1)",
        "assert f(400) == 80200",
    ),
    "sleep, which returns at once": ("import time\nf = lambda: time.sleep(1000)", "f()"),
    "large numbers": ("f = lambda: 10**5000", "assert len(str(f())) == 5001"),
}


@pytest.mark.parametrize("name", USES)
def test_tests_use_a_program_as_if_it_were_theirs(name: str) -> None:
    program, *tests = USES[name]

    assert run(program, *tests) is None


def test_results_do_not_depend_on_the_order_of_hashes() -> None:
    first, second = (run("", "assert False, hash('a')") for _ in range(2))

    assert first == second


def test_programs_know_nothing_of_each_other() -> None:
    assert run("import math, builtins\nmath.left = builtins.left = 1") is None
    assert run("import math, builtins\nmath.left") is not None


def test_time_ends_what_instructions_do_not() -> None:
    limits = ProgramLimits(instructions=10**15, seconds=0.5)

    assert "interrupt" in str(run("while True: pass", limits=limits))
    assert run("def f(): return 1", "assert f() == 1") is None  # the next one is not interrupted


def test_a_program_leaves_no_thread_process_or_descriptor() -> None:
    run("")
    process = psutil.Process()
    before = process.num_fds(), threading.active_count(), set(process.children())

    for program in ("", "while True: pass", "x = bytearray(1 << 30)", "import os; os._exit(1)"):
        run(program)

    assert process.num_fds() <= before[0]
    assert threading.active_count() <= before[1]
    assert set(process.children()) <= before[2]


def test_a_signal_ends_a_program() -> None:
    class HeardError(Exception):
        pass

    def hear(*_: object) -> None:
        raise HeardError

    before = signal.signal(signal.SIGALRM, hear)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(HeardError):
            run("while True: pass", limits=ProgramLimits(instructions=10**15))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_interpreter_is_compiled_once() -> None:
    run("")
    program = (
        "from sweeper.features.generated_code import _sandbox\n"
        "_sandbox._build = None\nassert _sandbox.failure('', []) is None"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
def compiled(tmp_path: Path) -> tuple[wasmtime.Engine, Path]:
    """The engine, and a copy of the compiled interpreter."""
    engine, *_ = sandbox._load()
    copy = tmp_path / "python.cwasm"
    copy.write_bytes((sandbox._folder() / copy.name).read_bytes())
    copy.chmod(0o644)
    return engine, copy


def test_a_compiled_interpreter_is_private(
    compiled: tuple[wasmtime.Engine, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, path = compiled
    assert sandbox._read(engine, path) is not None

    link = path.with_name("link")
    link.symlink_to(path)
    assert sandbox._read(engine, link) is None
    for mode in (0o664, 0o646):
        path.chmod(mode)
        assert sandbox._read(engine, path) is None
    path.chmod(0o644)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert sandbox._read(engine, path) is None


def test_a_truncated_interpreter_is_not_used(compiled: tuple[wasmtime.Engine, Path]) -> None:
    engine, path = compiled
    for size in (path.stat().st_size // 2, 100, 0):
        os.truncate(path, size)
        assert sandbox._read(engine, path) is None


def test_interpreters_of_other_versions_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def small(command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        (cwd / "python.wasm").write_bytes(wasmtime.wat2wasm("(component)"))
        return subprocess.CompletedProcess(command, 0)

    engine, *_ = sandbox._load()
    monkeypatch.setattr(subprocess, "run", small)
    for name in ("old", "new"):
        make_once(tmp_path / name, partial(sandbox._build, engine))
        assert sandbox._read(engine, tmp_path / name / "python.cwasm") is not None
    assert [folder.name for folder in tmp_path.glob("*/") if folder.is_dir()] == ["new"]


def test_a_cache_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(sandbox, "_load", sandbox._load.__wrapped__)

    with pytest.raises(RunError) as raised:
        run("")

    assert "SWEEPER_HOME" in raised.value.problems[0].fix
