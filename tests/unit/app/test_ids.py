"""Task ids."""

from __future__ import annotations

import os
import uuid

from umbel.app.sending.ids import new_id


def test_ids_are_random_uuids_in_their_usual_form() -> None:
    ids = [new_id() for _ in range(1000)]

    assert all(str(uuid.UUID(one)) == one for one in ids)
    assert {uuid.UUID(one).version for one in ids} == {4}
    assert {uuid.UUID(one).variant for one in ids} == {uuid.RFC_4122}
    assert len(set(ids)) == len(ids)


def test_a_forked_child_draws_other_ids_than_its_parent() -> None:
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    theirs = os.read(reader, 100).decode()
    os.close(reader)

    assert theirs not in [new_id() for _ in range(300)]
