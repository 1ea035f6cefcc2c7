"""The public names are those of docs/reference/public-api.txt: a change of surface is a change.

python scripts/check_public_api.py           compare
python scripts/check_public_api.py --write   accept what is there
"""

from __future__ import annotations

import ast
import difflib
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
STORED = ROOT / "docs" / "reference" / "public-api.txt"


def exported(path: Path) -> list[str]:
    """The names in a module's ``__all__``, without importing it."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names)):
                return [ast.literal_eval(name) for name in names]
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List(elts=names)):
                return [ast.literal_eval(name) for name in names]
            case _:
                continue
    return []


def public_names() -> list[str]:
    """``module.name`` for every public name of every public module."""
    names: list[str] = []
    for path in sorted((ROOT / "umbel").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        names += [f"{module}.{name}" for name in exported(path)]
    return sorted(names)


def main(arguments: list[str]) -> int:
    """Compare or store; 1 when they differ."""
    now = public_names()
    if arguments == ["--write"]:
        STORED.parent.mkdir(parents=True, exist_ok=True)
        STORED.write_text("\n".join(now) + "\n")
        return 0
    before = STORED.read_text().splitlines() if STORED.exists() else []
    changes = [
        line
        for line in difflib.unified_diff(before, now, lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    print("\n".join(changes) or f"{len(now)} public names, as stored")
    if changes:
        print("Meant? python scripts/check_public_api.py --write, and a fragment in changes/.")
    return bool(changes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
