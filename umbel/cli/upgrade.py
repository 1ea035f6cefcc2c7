"""``umbel upgrade settings``: old names of settings in a file, made new.

Source:
    Celery reference, "Command Line Interface", ``celery upgrade settings``: options, messages.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from pathlib import Path

import click

from umbel.cli.options import UmbelCommand, UmbelGroup
from umbel.cli.session import Session, pass_session

__all__ = ["upgrade"]

_SKIPPED = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


@click.group(cls=UmbelGroup)
def upgrade() -> None:
    """Bring files up to date."""


@upgrade.command(cls=UmbelCommand)
@click.argument("filename", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--django", is_flag=True, help="Write CELERY_ and upper case, for Django.")
@click.option("--compat", is_flag=True, help="The same, to keep upper case.")
@click.option("--no-backup", is_flag=True, help="Do not keep the old file as FILENAME.orig.")
@pass_session
def settings(
    session: Session, /, filename: Path, django: bool, compat: bool, no_backup: bool
) -> None:
    """Give the settings in FILENAME their names since Celery 4.

    Renamed are variables, keyword arguments, keys of dictionaries, and what is asked of 'conf';
    texts, comments and the names of environment variables stay.
    """
    session.say(f"processing {filename}...")
    with tokenize.open(filename) as file:
        encoding = file.encoding
    before = filename.read_bytes().decode(encoding)
    try:
        after = _renamed(before, upper=django or compat)
    except (tokenize.TokenError, SyntaxError) as error:
        raise click.ClickException(f"{filename} is not Python: {error}.") from error
    if after == before:
        click.echo("Does not seem to require any changes :-)")
        return
    if not no_backup:
        backup = filename.with_name(f"{filename.name}.orig")
        session.say(f"writing backup to {backup}...")
        backup.write_bytes(before.encode(encoding))
    filename.write_bytes(after.encode(encoding))
    click.echo("Changes to your setting have been made!")


def _renamed(source: str, *, upper: bool) -> str:
    """The source with new names; everything else is as it was, to the byte."""
    # The table of settings is not for --help.
    from umbel.app.defaults import NAME_BY_OLD_NAME

    ast.parse(source)
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline)
        if token.type not in _SKIPPED
    ]
    lines = source.splitlines(keepends=True)
    # From the end: what stands before keeps its place.
    for index in range(len(tokens) - 1, -1, -1):
        token = tokens[index]
        old = token.string.strip("'\"") if token.type == tokenize.STRING else token.string
        new = NAME_BY_OLD_NAME.get(old)
        if new is None or not _is_setting(tokens, index):
            continue
        if upper:
            new = new.upper() if new.startswith("celery") else f"CELERY_{new.upper()}"
        row, start = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:start] + token.string.replace(old, new) + line[token.end[1] :]
    return "".join(lines)


def _is_setting(tokens: Sequence[tokenize.TokenInfo], index: int) -> bool:
    """Whether the word is meant as the name of a setting, where it stands."""
    before = [token.string for token in tokens[max(index - 2, 0) : index]]
    of_conf = len(before) == 2 and before[0] == "conf"
    if tokens[index].type == tokenize.STRING:
        is_key = index + 1 < len(tokens) and tokens[index + 1].string == ":"
        return is_key or (of_conf and before[1] == "[")
    if tokens[index].type != tokenize.NAME:
        return False
    return not before or before[-1] != "." or of_conf
