"""Tasks and Django's transactions, with the real Django on SQLite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
)
django.setup()

from django.db import transaction

from umbel import Umbel
from umbel.contrib.django.task import DjangoTask

app = Umbel("x", broker="memory://", backend="memory://", task_cls=DjangoTask)
ran = []


@app.task
def note(what):
    ran.append(what)


app.conf.task_always_eager = True

with transaction.atomic():
    note.delay_on_commit("committed")
    note.apply_async_on_commit(args=("committed, too",), queue="mail")
    assert ran == [], "before the commit"
assert ran == ["committed", "committed, too"], ran

try:
    with transaction.atomic():
        note.delay_on_commit("rolled back")
        raise LookupError
except LookupError:
    pass
note.delay_on_commit("outside of any")
assert ran[2:] == ["outside of any"], ran
print("done")
"""


def test_a_task_is_sent_when_the_transaction_is_committed_and_not_before(tmp_path: Path) -> None:
    pytest.importorskip("django")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.strip() == "done", done.stdout
