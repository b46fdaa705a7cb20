"""Every module of every feature keeps to the contract in ``sweeper.features.parts``."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sweeper
from sweeper.errors import UsageError
from sweeper.features import loader, parts

PACKAGE = Path(sweeper.__file__).parent
OURS = [feature for feature in loader.installed() if feature.folder.parent.parent == PACKAGE]
MODULES = [
    (feature.name, part) for feature in OURS for part in sorted(feature.parts - loader.FOLDERS)
]
# Parts that are found by other means: typer commands, and values of a type.
FREE = {"commands", "metric"}
HEAVY = {"torch", "transformers", "peft", "datasets", "bitsandbytes", "accelerate", "lm_eval"}


def hooks() -> dict[str, dict[str, list[str] | None]]:
    """The parameters of every hook, by part and name; None of a value."""
    source = inspect.getsource(parts)
    found: dict[str, dict[str, list[str] | None]] = {}
    for hook in vars(parts).values():
        if isinstance(hook, parts.Hook):
            found.setdefault(hook.part, {})[hook.name] = None
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                hook, kind = getattr(parts, name), ast.unparse(annotation)
                if isinstance(hook, parts.Hook) and kind.startswith("Hook[Callable["):
                    stated = re.findall(rf"``{hook.name}\(([^)]*)\)``", source)
                    named = [one.split(", ") if one else [] for one in stated]
                    types = annotation.slice.slice.elts[0].elts  # type: ignore[attr-defined]
                    found[hook.part][hook.name] = next(
                        names for names in named if len(names) == len(types)
                    )
    return found


HOOKS = hooks()


def public(module: Any) -> dict[str, Any]:
    """What a module itself defines under a public name, constants apart."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def test_there_are_features_and_every_part_has_hooks() -> None:
    assert len(MODULES) > len(OURS) > 2
    assert set(HOOKS) | FREE == loader.PARTS


@pytest.mark.parametrize(("name", "part"), MODULES)
def test_a_part_defines_its_hooks(name: str, part: str) -> None:
    feature = next(one for one in OURS if one.name == name)
    module, known = feature.load(part), HOOKS.get(part, {})
    if part in FREE:
        assert public(module)
        return
    defined = {hook for hook in known if hasattr(module, hook)}
    assert defined, f"{module.__name__} defines none of {sorted(known)}"
    for hook in defined:
        if (wanted := known[hook]) is not None:
            value = getattr(module, hook)
            assert list(inspect.signature(value).parameters) == wanted, f"{module.__name__}.{hook}"


@pytest.mark.parametrize("feature", OURS, ids=lambda feature: feature.name)
def test_options_do_nothing_by_default_and_say_what_they_are(feature: loader.Feature) -> None:
    if "options" not in feature.parts:
        return
    kind = parts.OPTIONS.of(feature.name)
    assert kind.__doc__
    assert kind() == kind.model_validate({})
    for name, field in kind.model_fields.items():
        assert field.description, name
    flags = [flag.name for flag in parts.flags().values() if flag.name]
    assert len(flags) == len(set(flags))


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether that happens when the file is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in _with_types_apart(tree):
        at_top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module, at_top
            yield from ((f"{node.module}.{alias.name}", at_top) for alias in node.names)


def _with_types_apart(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        test = ast.unparse(node.test) if isinstance(node, ast.If) else ""
        if test != "TYPE_CHECKING":
            yield node
            yield from _with_types_apart(node)


CORE = [file for file in PACKAGE.rglob("*.py") if PACKAGE / "features" not in file.parents]
CONTRACT = {"sweeper.features", "sweeper.features.parts", "sweeper.features.loader"}


def _of_features(module: str) -> str:
    """The feature that a module belongs to; empty for the core and the contract."""
    inside = module.startswith("sweeper.features.")
    return (
        module.split(".")[2]
        if inside and not module.startswith(tuple(CONTRACT - {"sweeper.features"}))
        else ""
    )


def test_the_core_imports_no_feature() -> None:
    assert len(CORE) > 100
    found = {(file.name, name) for file in CORE for module, _ in imports(file)
             if (name := _of_features(module))}  # fmt: skip
    assert not found


@pytest.mark.parametrize("feature", OURS, ids=lambda feature: feature.name)
def test_a_feature_imports_no_other_and_torch_only_where_it_may(feature: loader.Feature) -> None:
    for file in feature.folder.rglob("*.py"):
        for module, at_top in imports(file):
            assert _of_features(module) in ("", feature.name), f"{file} imports {module}"
            light = not file.name.startswith("_") and file.name != "trial.py"
            heavy = module.partition(".")[0] in HEAVY
            assert not (light and at_top and heavy), f"{file} imports {module}"


def write(folder: Path, *names: str, after: str = "()") -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"AFTER = {after}\n")
    for name in names:
        (folder / name).write_text("")
    return folder


def test_a_file_that_is_no_part_is_refused_with_the_nearest_part(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", "sections.py")
    with pytest.raises(UsageError) as refused:
        loader._parts(folder)
    (problem,) = refused.value.problems
    assert problem.where == str(folder / "sections.py")
    assert "'section'" in problem.fix
    (folder / "sections.py").rename(folder / "_sections.py")
    assert loader._parts(folder) == frozenset()


def feature(name: str, *after: str) -> loader.Feature:
    return loader.Feature(name, name, Path(name), frozenset({"facts"}), after)


def test_features_come_after_those_that_they_name() -> None:
    known = {one.name: one for one in (feature("a", "c"), feature("b"), feature("c", "missing"))}
    assert [one.name for one in loader._in_order(known)] == ["b", "c", "a"]
    circle = {one.name: one for one in (feature("a", "b"), feature("b", "a"))}
    with pytest.raises(UsageError):
        list(loader._in_order(circle))


def test_a_package_of_others_is_a_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "others_feature", "facts.py", after="('ray',)")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    entry = importlib.metadata.EntryPoint("others", "others_feature", loader.GROUP)
    monkeypatch.setattr(loader, "entries", lambda _group: [entry])
    loader.installed.cache_clear()
    try:
        names = [one.name for one in loader.installed()]
        assert names.index("others") > names.index("ray")
        assert "others" in [one.name for one in loader.features_with("facts")]
    finally:
        monkeypatch.undo()
        loader.installed.cache_clear()


def test_the_guide_names_every_part_and_hook() -> None:
    guide = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for part, named in HOOKS.items():
        assert f"`{part}.py`" in guide
        assert part == "section" or all(f"`{hook}`" in guide for hook in named)
