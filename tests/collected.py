"""What tests there are, by reading their source: nothing is imported or run."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


ROOT = Path(__file__).parent.parent
TESTS = ("tests", "core/tests", "plugins/*/tests")
CONTRACTS = "core/src/elaunch/testing"

Test = ast.FunctionDef | ast.AsyncFunctionDef


def node_ids() -> set[str]:
    """Return the node id of every test, without parameters.

    A test that a class inherits from a contract is one of that class.
    """
    contracts = dict(_classes(sorted((ROOT / CONTRACTS).glob("*.py"))))
    files = sorted(
        path for place in TESTS for path in ROOT.glob(f"{place}/**/test_*.py")
    )
    return {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in files
        for name in _of_file(path, contracts)
    }


def _classes(paths: Iterable[Path]) -> Iterator[tuple[str, ast.ClassDef]]:
    for path in paths:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield node.name, node


def _of_file(path: Path, contracts: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    own = {**contracts, **dict(_classes([path]))}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, Test) and node.name.startswith("test_"):
            yield node.name
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from (f"{node.name}::{name}" for name in _of_class(node, own))


def _of_class(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, Test) and child.name.startswith("test_"):
            yield child.name
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
        if name in known and known[name] is not node:
            yield from _of_class(known[name], known)
