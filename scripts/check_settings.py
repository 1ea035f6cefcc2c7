"""docs/reference/settings.md says what umbel/app/defaults says: every setting, one sentence each.

python scripts/check_settings.py           compare
python scripts/check_settings.py --write   write it
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from umbel.app.defaults import SECTIONS, SETTINGS, Setting
from umbel.app.defaults.support import MISSING

STORED = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
HEAD = """# Settings

Written by `scripts/check_settings.py --write` from `umbel/app/defaults/`; do not edit it here.

{count} settings: all of Celery's, with its defaults, and umbel's own.
[Configuration](../guides/configuration.md) says how to set them; `umbel settings` shows them.
What is marked **refused** asks for something that this release does not do and tasks would depend
on: setting it to anything but its default is an error. What is marked **no effect** is accepted
with a warning.
"""


MISSING_BY_SETTING = {name: missing for missing in MISSING for name in missing.settings}


def described(setting: Setting) -> str:
    """What a setting does, and what it may be."""
    text = setting.text
    if setting.choices:
        text += " One of " + ", ".join(f"`{choice!r}`" for choice in setting.choices) + "."
    lacking = MISSING_BY_SETTING.get(setting.name)
    if lacking is not None:
        values = " or ".join(f"`{value!r}`" for value in lacking.only)
        effect = "Refused" if lacking.refused else "No effect"
        text += f" **{effect}**{' when ' + values if values else ''}: {lacking.reason}."
    if setting.own:
        text += " *Not in Celery.*"
    return text


def row(*cells: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> Iterator[str]:
    """The page, line by line."""
    yield HEAD.format(count=len(SETTINGS))
    for title, settings in SECTIONS.items():
        yield f"## {title}\n"
        yield row("setting", "takes", "default", "what it does")
        yield row("---", "---", "---", "---")
        for setting in settings:
            name, kind = f"`{setting.name}`", f"`{setting.kind}`"
            yield row(name, kind, f"`{setting.default!r}`", described(setting))
        yield ""


def main(arguments: list[str]) -> int:
    """Compare or write; 1 when they differ."""
    text = "\n".join(page())
    if arguments == ["--write"]:
        STORED.parent.mkdir(parents=True, exist_ok=True)
        STORED.write_text(text)
        return 0
    if not STORED.exists() or STORED.read_text() != text:
        print("the page of settings is out of date: python scripts/check_settings.py --write")
        return 1
    print(f"{len(SETTINGS)} settings, all documented")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
