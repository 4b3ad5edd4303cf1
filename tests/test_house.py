"""The house rules that a machine can check. The lists of exceptions may only shrink."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("millstream", "consumers", "streams", "schemas", "ops")
LINES_MAX = 400
FUNCTION_LINES_MAX = 60

SOCKETS = {
    "socket", "ssl", "http", "urllib.request", "socketserver", "asyncio", "httpx", "requests",
    "aiohttp", "confluent_kafka", "aiokafka", "faust", "clickhouse_connect", "chdb", "uvicorn",
    "starlette",
}  # fmt: skip
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
    "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "datetime.datetime.now", "datetime.date.today",
}  # fmt: skip
PROGRAMS = ("consumers.scorer", "consumers.sink", "consumers.produce", "consumers.tail")
MAY_IMPORT_PROGRAMS = (
    "millstream/cli/",
    "tests/",
    "ops/bench/",
    "ops/demo/",
    "ops/faults/",
    "ops/stack.py",
)

CLIENTS = {f"confluent_kafka.{name}" for name in ("Consumer", "Producer", "admin", "aio")}
"""What opens sockets there; the doubles take Kafka's own errors and records from the rest."""
DOUBLES = "millstream/doubles/"

LONG_FILES: dict[str, int] = {}
"""File -> its lines."""
LONG_FUNCTIONS: dict[str, int] = {}
"""file:function -> its lines without docstring."""
SILENT = {
    "millstream/cli/options.py:kafka_settings",
    "millstream/cli/options.py:registry_settings",
    "millstream/cli/options.py:warehouse_settings",
}
"""file:name of what is public and has no docstring."""


@cache
def _tracked() -> tuple[str, ...]:
    """Every file of the repository that exists and is not ignored."""
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(sorted({name for name in run.stdout.splitlines() if (ROOT / name).is_file()}))


def _python(*folders: str) -> list[str]:
    return [n for n in _tracked() if n.endswith(".py") and (not folders or n.startswith(folders))]


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text("utf-8"), name)


def _imports(tree: ast.Module, name: str) -> Iterator[str]:
    """Full names of everything imported, anywhere in the file; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = Path(name).parent.parts[: len(Path(name).parts) - node.level]
                module = ".".join([*above, *([module] if module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _within(name: str, roots: set[str] | tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _forbidden(name: str, text: str | None = None) -> list[str]:
    """What this file imports or calls though its layer may not."""
    tree = _tree(name) if text is None else ast.parse(text)
    layer = name.partition("/")[0]
    roots: set[str] = set()
    if layer == "millstream" and not name.startswith("millstream/cli/"):
        roots = {"consumers", "streams", "ops", "tests", "millstream.cli"} | SOCKETS
        if name == "millstream/__main__.py":
            roots.discard("millstream.cli")
        if name.startswith(DOUBLES):
            roots = (roots - {"confluent_kafka"}) | CLIENTS
    elif layer in ("consumers", "streams"):
        roots = {"ops", "tests", "millstream.cli"}
    elif layer in ("ops", "millstream", "examples"):
        roots = {"tests"}
    found = [f"imports {i}" for i in set(_imports(tree, name)) if _within(i, roots)]
    if not name.startswith(MAY_IMPORT_PROGRAMS):
        found += [f"imports {i}" for i in set(_imports(tree, name)) if _within(i, PROGRAMS)]
    if layer == "millstream" and not name.startswith("millstream/cli/"):
        found += [f"calls {call}" for call in _calls(tree) if call in CLOCKS]
        found += [f"imports {i}" for i in _imports(tree, name) if i in CLOCKS]
    return sorted(found)


def _calls(tree: ast.Module) -> Iterator[str]:
    """a.b.c for every call of a.b.c()."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("name", _python())
def test_imports_go_one_way(name: str) -> None:
    """ops, tests -> consumers, streams -> millstream -> schemas; no socket and no clock inside."""
    assert _forbidden(name) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("millstream/x.py", "import consumers.loop"),
        ("millstream/x.py", "from ops.kafka import broker"),
        ("millstream/warehouse/x.py", "def f():\n    from confluent_kafka import Consumer"),
        ("millstream/x.py", "import socket as s"),
        ("millstream/doubles/x.py", "from confluent_kafka import Message, Producer"),
        ("millstream/x.py", "from http import client"),
        ("millstream/x.py", "import time\ntime.time()"),
        ("millstream/x.py", "from time import monotonic"),
        ("millstream/x.py", "from datetime import datetime, UTC\ndatetime.now(UTC)"),
        ("millstream/x.py", "from millstream.cli import main"),
        ("consumers/x.py", "from ops.kafka.embedded import EmbeddedBroker"),
        ("consumers/x.py", "from ..ops import kafka"),
        ("streams/x.py", "import ops"),
        ("ops/kafka/x.py", "from consumers.scorer import Scorer"),
        ("consumers/x.py", "from consumers.scorer import Scorer"),
        ("ops/x.py", "from tests import streams"),
    ],
)
def test_the_rule_finds_what_breaks_it(name: str, text: str) -> None:
    """Wherever in a file it stands, and however it is written."""
    assert _forbidden(name, text)


def _lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the last line, without the docstring."""
    count = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        count -= (first.end_lineno or 0) - first.lineno + 1
    return count


def test_files_are_short() -> None:
    """No more than 400 lines, but for those that are listed, and these grow no further."""
    counts = {n: len((ROOT / n).read_text("utf-8").splitlines()) for n in _python()}
    long = {name: count for name, count in counts.items() if count > LINES_MAX}
    grown = {n: c for n, c in long.items() if c > LONG_FILES.get(n, LINES_MAX)}
    assert grown == {}
    assert sorted(set(LONG_FILES) - set(long)) == [], "no longer long: take it off the list"


def test_functions_are_short() -> None:
    """No more than 60 lines without their docstring, but for those that are listed."""
    long = {
        f"{name}:{node.name}": _lines_of(node)
        for name in _python()
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _lines_of(node) > FUNCTION_LINES_MAX
    }
    grown = {n: c for n, c in long.items() if c > LONG_FUNCTIONS.get(n, FUNCTION_LINES_MAX)}
    assert grown == {}
    assert sorted(set(LONG_FUNCTIONS) - set(long)) == [], "no longer long: take it off the list"


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The module, and its public classes and functions."""
    yield "", tree
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node


def test_what_is_public_has_a_docstring() -> None:
    """Every module that has any code, and every class and function of it."""
    silent = {
        f"{name}:{what}"
        for name in _python(*(f"{folder}/" for folder in (*OURS, "examples")))
        if _tree(name).body
        for what, node in _public(_tree(name))
        if not ast.get_docstring(node)  # type: ignore[arg-type]
    }
    assert silent - SILENT == set()
    assert SILENT - silent == set(), "has one now: take it off the list"


def test_every_test_says_what_it_shows() -> None:
    """In a docstring of its own."""
    silent = [
        f"{name}:{node.name}"
        for name in _python("tests/")
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_other_distribution_claims_our_import_names() -> None:
    """Installed packages are asked what they contain: a second `ops` would shadow ours."""
    claimed = {
        name: [d for d in metadata.packages_distributions().get(name, []) if d != "millstream"]
        for name in OURS
    }
    assert claimed == {name: [] for name in OURS}
    assert "fastavro" in metadata.packages_distributions(), "the question finds nothing at all"


# /home/millstream is inside of our own container image
_PATHS = re.compile(r"(?<![\w./{}-])/(?:home|root|work|Users|mnt)/(?!millstream\b)[\w.-]+")
_HOSTS = re.compile(
    r"files\.pythonhosted\.org|\bpypi\.org|repo1?\.maven\.(?:org|apache\.org)|"
    r"registry\.npmjs\.org|proxy\.golang\.org|--(?:extra-)?index-url|artifactory|/simple/",
    re.IGNORECASE,
)


def _texts() -> Iterator[tuple[str, str]]:
    for name in _tracked():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and name != "tests/test_house.py":
            yield name, content.decode("utf-8", "replace")


def test_no_file_names_a_machine_or_a_registry() -> None:
    """The project builds wherever its clients are configured to fetch from."""
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if _PATHS.search(line) or (_HOSTS.search(line) and not line.startswith("#    uv pip"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["cd /home/me/x", '"/root/.cache"', "see /work/main/x", "https://pypi.org/project/x"],
)
def test_a_machine_or_registry_would_be_found(line: str) -> None:
    """As these would."""
    assert _PATHS.search(line) or _HOSTS.search(line)


_LOCKS = [name for name in _tracked() if re.fullmatch(r"requirements[\w.-]*\.lock", name)]


def test_there_is_a_lock_file() -> None:
    """The next test has something to read."""
    assert "requirements-dev.lock" in _LOCKS


@pytest.mark.parametrize("name", _LOCKS)
def test_every_requirement_is_pinned_with_its_hash_and_no_url(name: str) -> None:
    """So that an environment is the same everywhere and always."""
    text = (ROOT / name).read_text("utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "://" not in code
    entries = [entry.strip() for entry in re.split(r"\n(?=\S)", code.strip())]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[\w.\[\],-]+==[\w.!+]+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


def test_the_lock_has_what_the_project_needs() -> None:
    """Every dependency of pyproject.toml, extras included, is locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"]]
    wanted += [w for extra in project["optional-dependencies"].values() for w in extra]
    locked = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "requirements-dev.lock").read_text("utf-8"), re.M)
    )
    names = {re.split(r"[\[=<>;! ]", want)[0].lower().replace("_", "-") for want in wanted}
    assert names - locked == set()
