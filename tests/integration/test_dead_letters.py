"""Messages that are given up: found with their reasons, tried again, dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from umbel import Umbel
from umbel.cli.main import main
from umbel.exceptions import Reject
from umbel.model import Message
from umbel.worker import Worker


@pytest.fixture(params=["sqlite", "redis"])
async def app(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> AsyncIterator[Umbel]:
    url = url_of(request.param)
    app = Umbel("dead", broker=url, backend=url, set_as_current=False)
    yield app
    await app.aclose()


async def test_every_message_that_is_given_up_says_why_and_can_be_tried_again(app: Umbel) -> None:
    refusing = True

    @app.task(name="picky", acks_late=True)
    def picky(number: int) -> int:
        if refusing:
            raise Reject("not today")
        return number

    async with Worker(app, pool="threads", concurrency=2, quiet=True) as worker:
        broker = await app.connections.broker()
        await broker.publish([Message(id="x", body=b"no JSON", headers=b"{}")])
        await app.asend_task("unknown.task", ())
        result = await picky.adelay(7)
        await worker.settled(3)

        letters = await app.dead_letters.alatest()
        reasons = sorted(letter.reason for letter in letters)
        assert len(letters) == await app.dead_letters.acount() == 3
        assert "no worker knows the task 'unknown.task'" in reasons
        assert any("rejected by the task" in each and "not today" in each for each in reasons)
        assert all(letter.queue == "celery" for letter in letters)

        refusing = False
        [letter] = [each for each in letters if each.message.id == result.id]
        assert await app.dead_letters.aretry(letter.id) == 1
        assert await result.aget(timeout=60) == 7
        assert await app.dead_letters.acount() == 2


def test_the_command_line_lists_shows_retries_and_drops(
    app: Umbel, capsys: pytest.CaptureFixture[str]
) -> None:
    async def bury() -> None:
        broker = await app.connections.broker()
        for name in ("one", "two"):
            headers = json.dumps({"id": name, "task": "add"}).encode()
            await broker.publish([Message(id=name, body=b"[[1],{},{}]", headers=headers)])
        taken = await broker.receive(["celery"], limit=2, wait=5)
        await broker.nack(taken, requeue=False, reason="given up")

    app.portal.call(bury)
    first, second = (letter.id for letter in app.dead_letters.latest())

    def run(*arguments: str) -> str:
        assert main(["dead", *arguments], app) == 0
        return capsys.readouterr().out

    listed = run("list")
    assert all(text in listed for text in (first, second, "celery", "add", "given up"))
    assert json.loads(run("show", first, "--json"))["reason"] == "given up"
    assert "[[1],{},{}]" in run("show", first)
    assert run("retry", first) == "Sent 1 message again.\n"
    assert run("drop", "--all") == "Dropped 1 message.\n"
    assert run("list") == "There are no dead letters.\n"
    with pytest.raises(SystemExit) as caught:
        main(["dead", "show", second], app)
    assert caught.value.code == 1
