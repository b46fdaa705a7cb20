from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sweeper.errors import RunError, UsageError
from sweeper.features.generated_code import _code_execution as code_execution
from sweeper.features.generated_code._code_execution import (
    Limits,
    Outcome,
    can_isolate,
    run_program,
)

# Programs take 0.04 s, on a busy machine any time.
LIMITS = Limits(seconds=60, memory_mib=256, file_mib=1)


def run(program: str, *tests: str, limits: Limits = LIMITS) -> Outcome:
    return run_program(program, tests, permitted=True, limits=limits)


# A program, its test, how it must end, and what the detail must say.
ENDINGS = {
    "right": ("def f(x): return x + 1", "assert f(1) == 2", "passed", ""),
    "wrong": ("def f(x): return x", "assert f(1) == 2, 'not two'", "failed", "not two"),
    "broken": ("def f(x) return x", "", "failed", "SyntaxError"),
    "leaves before its test": ("import os; os._exit(0)", "", "crash", "ended before"),
    "leaves when called": ("import os\ndef f(): os._exit(0)", "f()", "crash", "ended before"),
    "leaves politely": ("def f(): raise SystemExit(0)", "f()", "failed", "SystemExit"),
    "greedy": ("x = bytearray(1 << 30)", "", "memory", "MemoryError"),
    "asks": ("input()", "", "failed", "EOFError"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_as_it_must(name: str) -> None:
    program, test, result, detail = ENDINGS[name]

    outcome = run(program, test)

    assert outcome.result == result
    assert detail in outcome.detail
    assert outcome.passed == (result == "passed")


# What a program tries, each as a function that returns or raises. All of them run in one sandbox.
ATTACKS = '''
import ctypes, os, signal, socket, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)

def refused(attempt, *values):
    """The number of the error, or what came back."""
    try:
        return attempt(*values)
    except OSError as error:
        return -error.errno

def call(name, *values):
    ctypes.set_errno(0)
    return -ctypes.get_errno() if getattr(libc, name)(*values) == -1 else "done"

def remount():
    return [call("mount", None, place, None, 32 | extra, None)
            for place in (b"/", b"/usr/lib", b"/proc") for extra in (0, 4096)]

def writable():
    found = []
    for folder, folders, files in os.walk("/"):
        if folder.startswith(("/proc/self", "/proc/thread-self", "/proc/1", "/proc/2", "/usr")):
            folders.clear()
            continue
        for name in [folder, *(os.path.join(folder, n) for n in files)]:
            if os.access(name, os.W_OK) and not os.path.islink(name):
                found.append(name)
    return found

def write(path): return refused(open, path, "w")
def read(path): return refused(lambda: open(path).read())
def remove(path): return refused(os.remove, path)

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(1)
        return refused(one.connect, address)

def start():
    spawned = refused(os.posix_spawn, "/script.py", ["x"], {})
    return [refused(os.fork), spawned, os.system("true") != 0]
def raw(number, flags): return call("syscall", number, flags, 0, 0, 0, 0)
def new_namespace(): return call("unshare", 0x10000000)
def trace(): return call("ptrace", 16, 1, 0, 0)
def memory_file(): return call("memfd_create", b"x", 0)
def message_queue(): return call("msgget", 0, 0o1600)
def shared_memory(): return call("shmget", 0, 1 << 20, 0o1600)

def kill():
    for number in (1, os.getppid()):
        refused(os.kill, number, signal.SIGKILL)
    return refused(os.kill, -1, 0)

def flood_files():
    written = 0
    try:
        for number in range(100):
            written += open(f"/tmp/{number}", "wb", 0).write(bytes(1 << 16))
    except OSError:
        pass
    for number in os.listdir("/tmp"):
        os.remove("/tmp/" + number)
    return written

def flood_output():
    for _ in range(100):
        print("x" * (1 << 16))
    os.write(1, b"\\xff" * (1 << 20))
    return "alive"

def thread():
    heard = []
    one = threading.Thread(target=heard.append, args=(1,))
    one.start(); one.join()
    return heard

def environments():
    """The names of variables, and which processes can be read, by every path that has them."""
    found = [read(f"/proc/{name}/environ") for name in os.listdir("/proc") if name.isdigit()]
    found += [read(f"/proc/{name}/environ") for name in ("self", "thread-self")]
    texts = [text for text in found if isinstance(text, str)]
    names = {line.partition("=")[0] for text in texts for line in text.split("\\0") if line}
    return len(texts), (names | set(os.environ)) - {"PYTHONHASHSEED", "PWD", "LC_CTYPE"}
def processes(): return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
def status(name):
    return next(l.split()[1] for l in open("/proc/self/status") if l.startswith(name + ":"))
def session(): return os.getsid(0) in (0, 1, 2)
def users(): return os.getuid(), os.getgid()
def packages():
    import sys
    sys.path += [p + "/site-packages" for p in sys.path]
    try:
        import pytest
    except ImportError:
        return []
    return [pytest.__file__]
'''


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """Open sockets of this machine: by path, by abstract name, and on the network."""
    named, abstract = str(tmp_path / "socket"), f"\0sweeper-{os.getpid()}"
    kinds = [(socket.AF_UNIX, named), (socket.AF_UNIX, abstract)]
    kinds.append((socket.AF_INET, ("127.0.0.1", 0)))  # type: ignore[arg-type]
    sockets = []
    for family, address in kinds:
        one = socket.socket(family)
        one.bind(address)
        one.listen()
        sockets.append(one)
    yield named, abstract, sockets[2].getsockname()[1]
    for one in sockets:
        one.close()


def test_a_program_reaches_nothing_of_this_machine(
    tmp_path: Path, listeners: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    monkeypatch.setenv("HF_TOKEN", "secret")
    named, abstract, port = listeners
    numbers = {"x86_64": (56, 58, 250), "aarch64": (220, 220, 219)}
    clone, vfork, keyctl = numbers[platform.machine()]

    outcome = run(
        ATTACKS,
        "from errno import EPERM, ENOENT, ENOSYS, EROFS, ENETUNREACH, ECONNREFUSED",
        "assert set(remount()) == {-EPERM}, remount()",
        "found = [p for p in writable() if not p.startswith('/dev/')]",
        "assert found == ['/tmp'], found",
        f"assert read({str(kept)!r}) == -ENOENT",
        f"assert write({str(kept)!r}) in (-ENOENT, -EROFS)",
        f"assert remove({str(kept)!r}) == -ENOENT",
        "assert read('/etc/shadow') == read('/etc/passwd') == -ENOENT",
        "assert write('/usr/lib/x') == write('/new') == write('/dev/shm/x') == -EROFS",
        "assert write('/proc/sys/kernel/core_pattern') == -EROFS",
        f"assert connect(1, {named!r}) == -ENOENT",
        f"assert connect(1, {abstract!r}) == -ECONNREFUSED",
        f"assert connect(2, ('127.0.0.1', {port})) in (-ENETUNREACH, -ECONNREFUSED)",
        "assert connect(2, ('192.0.2.1', 80)) == -ENETUNREACH",
        "assert start() == [-EPERM, -EPERM, True], start()",
        f"assert raw({clone}, 17) == raw({vfork}, 17) == -EPERM",
        "assert raw(435, 0) == -ENOSYS",
        "assert new_namespace() == trace() == memory_file() == -EPERM",
        "assert shared_memory() == message_queue() == -EPERM",
        f"assert raw({keyctl}, 0) == -EPERM",
        "assert flood_files() <= 1 << 20",
        "assert flood_output() == 'alive'",
        "assert thread() == [1]",
        "assert environments() == (4, set()), environments()",
        "assert processes() == [1, 2]",
        "kill()",
        "assert session()",
        "assert users() == (65534, 65534)",
        "assert [status(n) for n in ('CapEff', 'CapPrm', 'CapBnd')] == ['0' * 16] * 3",
        "assert [status(n) for n in ('NoNewPrivs', 'Seccomp')] == ['1', '2']",
        "assert packages() == []",
    )

    assert outcome == Outcome("passed")
    assert kept.read_text() == "mine"


# Programs that do not solve "assert f(3) == 9" and try to pass. The last lines of each are `f`.
CHEATS = {
    "always equal": "class F(int):\n  __eq__ = lambda a, b: True\nf = F",
    "equal object": "class F:\n  __init__ = lambda s, x: None\n  __eq__ = lambda a, b: True\nf = F",
    "replaced assert": "import builtins\nbuiltins.AssertionError = SystemExit\nf = lambda x: 0",
    "replaced built-ins": "abs = int = len = print = lambda *a: 9\nf = lambda x: 0",
    "stops the loop": "def f(x): raise StopIteration",
    "leaves at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit",
    "walks the stack": """
import gc, sys
def f(x):
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(repr(frame.f_locals)); frame = frame.f_back
    seen += [repr(o) for o in gc.get_objects() if isinstance(o, (dict, list, str, bytes))]
    # Together, so that this source does not hold it.
    return 9 if any("assert" + " f(" + "3) =" in text for text in seen) else 0
""",
    "deletes its tests": "import gc\n[o.clear() for o in gc.get_objects() if type(o) is dict and "
    "'tests' in o]\nf = lambda x: 0",
    "writes its result": """
import os
def f(x):
    for number in range(64):
        try: os.write(number, b'\\n{"result": "passed", "detail": ""}\\n')
        except OSError: pass
    return 0
""",
    "writes answers": """
import os
def f(x):
    for number in range(64):
        try: os.write(number, b'{"value": ["type", "__import__"]}\\n')
        except OSError: pass
    return 0
""",
    "writes rubbish": """
import os
def f(x):
    for number in range(64):
        try: os.write(number, bytes(range(256)) * 99)
        except OSError: pass
    return 0
""",
    "nests deeply": "import os\ndef f(x):\n  for n in range(3, 64):\n    try: os.write(n, b'[' * "
    "200000 + b'\\n')\n    except OSError: pass",
    "asks back": "import os\ndef f(x):\n  for n in range(3, 64):\n    try: os.write(n, b'"
    '{"ask": "getattr", "values": [["yours", 0], "__globals__"], "named": {}}\\n'
    "')\n    except OSError: pass\n  return 0",
    "huge": "def f(x): return 'x' * (40 << 20)",
    "lone surrogate": "def f(x): raise ValueError('\\ud800' * 9)",
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_program_that_does_not_solve_the_task_fails(name: str) -> None:
    outcome = run(CHEATS[name], "for y in map(f, [3]): assert y == 9", "assert f(3) == 9")

    assert outcome.result in ("failed", "crash", "timeout"), outcome


# Ways in which tests use a program. All of them must pass.
USES = {
    "plain values": (
        "def same(x): return x",
        "from collections import Counter, deque, OrderedDict\nimport datetime, decimal, fractions",
        "for x in (1 << 20000, -1.5, float('inf'), 1j, b'a', '\\ud800', None, range(3), (1, [2]),"
        " {1: {2}}, frozenset({1}), Counter('ab'), deque([1]), OrderedDict(a=1),"
        " decimal.Decimal('1.50'), fractions.Fraction(1, 3), datetime.date(2020, 1, 2), int):\n"
        "  assert same(x) == x and type(same(x)) is type(x), x",
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
    "objects": (
        "class P:\n  def __init__(s, x): s.x = x\n  def __eq__(s, o): return s.x == o.x",
        "p = P(1)\np.x += 1\nassert p.x == 2 and p == P(2) and isinstance(p, P) and p != P(3)",
    ),
    "named tuples": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')",
        "assert P(1, 2) == (1, 2) and (1, 2) == P(1, 2) and P(1, 2).b == 2",
    ),
    "errors": (
        "class E(ValueError):\n  pass\ndef f(x): raise E(x)",
        "for kind in (E, ValueError):\n  try:\n    f(5)\n  except kind as e:\n"
        "    assert e.args == (5,)\n  else:\n    assert False",
    ),
    "objects of the tests": (
        "def depth(n): return 0 if n is None else 1 + depth(n.below)",
        "class N:\n  def __init__(s, b): s.below = b",
        "assert depth(N(N(None))) == 2",
    ),
    "what is printed": (
        "def f(): print('hi')",
        "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as b: f()",
        "assert b.getvalue() == 'hi\\n'",
    ),
    "a built-in name": ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"),
    "a module of the program": ("import math\nf = float", "assert math.isclose(f(1), 1)"),
    "a variable": ("x = 1", "assert x == 1"),
    "its own file": (
        "def f():\n  open('note', 'w').write('hi')\n  return open('note').read()",
        "assert f() == 'hi'",
    ),
}


@pytest.mark.parametrize("name", USES)
def test_tests_use_a_program_as_if_it_were_theirs(name: str) -> None:
    program, *tests = USES[name]

    assert run(program, *tests) == Outcome("passed")


def test_a_sandbox_ends_with_the_process_that_started_it() -> None:
    command = (
        "from sweeper.features.generated_code._code_execution import Limits, run_program\n"
        "run_program('while True: pass', [], permitted=True, limits=Limits(seconds=600))"
    )
    with subprocess.Popen([sys.executable, "-c", command]) as owner:
        sandboxes: list[psutil.Process] = []
        # For each side bubblewrap, its first process in the namespace, and Python.
        while len(sandboxes) < 6 and owner.poll() is None:
            sandboxes = psutil.Process(owner.pid).children(recursive=True)
            time.sleep(0.02)
        owner.kill()
    assert psutil.wait_procs(sandboxes, timeout=300)[1] == []
    assert len(sandboxes) == 6


def test_a_program_reaches_nothing_of_its_tests_through_what_they_hand_over() -> None:
    program = """
import sys
def f(g, text):
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    ask, reached = frame.f_locals["self"].ask, []
    for attempt in (
        lambda: ask("getattr", g, "__globals__"),
        lambda: ask("getattr", text, "format"),
        lambda: ask("name", "secret"),
        lambda: ask("run", "1"),
        lambda: ask("__call__", str, g),
        lambda: ask("__call__", type, "S", (str,), {}),
        lambda: ask("setattr", text, "_x", 1),
    ):
        try:
            reached.append(attempt())
        except (AttributeError, KeyError, TypeError):
            pass
    return reached, g(2), text.public
"""
    tests = """
class Text(str): public = 7
secret = 5
assert f(lambda x: x + 1, Text('{0.__globals__}')) == ([], 3, 7)
"""

    assert run(program, tests) == Outcome("passed")


def test_objects_answer_only_among_themselves() -> None:
    program = (
        "class P:\n  __eq__ = __sub__ = __lt__ = lambda a, b: True\n  __float__ = lambda a: 9."
    )

    assert run(program, "assert P() == P()").passed  # inherent: docs/metrics.md says so
    assert not run(program, "assert P() == 9").passed
    assert "unsupported" in run(program, "assert abs(P() - 9) < 2").detail


def test_results_do_not_depend_on_the_order_of_hashes() -> None:
    (first, second) = (run("", "assert False, hash('a')").detail for _ in range(2))

    assert first == second


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(subprocess, "Popen", never)

    with pytest.raises(UsageError, match="needs permission"):
        run_program("", [], permitted=False)


def test_nothing_runs_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RunError, match="not installed") as raised:
        run("")

    assert "apt install bubblewrap" in str(raised.value)


def test_nothing_runs_where_bubblewrap_does_not_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho bwrap: No permissions to create a namespace >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    refused = can_isolate()

    assert refused is not None
    assert "No permissions" in refused.why
    assert "bubblewrap" in refused.fix


def test_nothing_runs_on_a_processor_whose_system_calls_are_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(RunError, match="riscv64"):
        run("")


@pytest.mark.parametrize("heard", [b"\xff\x00\n", b"[1]\n", b'{"result": 1}\n', b"[" * 60000])
def test_a_result_that_is_no_result_is_none(heard: bytes) -> None:
    assert code_execution._results(heard) == []


def test_an_endless_program_is_stopped_and_leaves_nothing() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    others = psutil.Process().children(recursive=True)  # such as the browser of other tests

    outcome = run("def f():\n  while True: pass", "f()", limits=replace(LIMITS, seconds=1))

    assert outcome == Outcome("timeout", "not done after 1 s")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert set(psutil.Process().children(recursive=True)) <= set(others)
