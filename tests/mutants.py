"""Copies of a package with one fault in each, imported in its place, and tests that are called without pytest."""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """``right`` in ``file`` of the package becomes ``wrong``, where it first stands."""

    fault: str
    file: str
    right: str
    wrong: str
    caught_by: str


def drop(packages: Sequence[str]) -> dict[str, ModuleType]:
    """Forget these packages or modules, so that they are imported anew; returns what was imported."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] in packages}


@contextmanager
def mutated(package: ModuleType, folder: Path, mutant: Mutant | None, others: Sequence[str] = ()) -> Iterator[None]:
    """A copy of the package, with the fault in it, is what is imported. So are ``others`` anew, which use it."""
    name = package.__name__
    shutil.copytree(Path(package.__file__ or "").parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant:
        file = folder / name / mutant.file
        source = file.read_text()
        assert mutant.right in source, f"{mutant.file} has changed: bring this mutant up to date"
        file.write_text(source.replace(mutant.right, mutant.wrong, 1))
    kept = drop([name, *others])
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        component = importlib.import_module(f"{name}.component")
        importlib.import_module(f"{name}.store")
        assert Path(component.__file__ or "").parent == folder / name
        yield
    finally:
        sys.path.remove(str(folder))
        drop([name, *others])
        sys.modules.update(kept)


def cases(test: Any) -> Iterator[dict[str, Any]]:
    """The arguments of a parametrised test, as pytest would give them."""
    axes = []
    for mark in getattr(test, "pytestmark", []):
        names = mark.args[0] if isinstance(mark.args[0], tuple) else [n.strip() for n in mark.args[0].split(",")]
        values = mark.args[1]
        axes.append([dict(zip(names, v if len(names) > 1 else [v], strict=True)) for v in values])
    for combination in itertools.product(*axes):
        yield {name: value for part in combination for name, value in part.items()}
