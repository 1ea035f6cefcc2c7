"""A program for the type checkers: what a task's call and result are."""

from typing import assert_type

from umbel import AsyncResult, Signature, Task, Umbel, chord, group, shared_task

app = Umbel("typing")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True, max_retries=5)
def describe(self: Task[..., str], name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@app.task(acks_late=True)
def count(words: list[str]) -> dict[str, int]:
    return dict.fromkeys(words, 1)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True)
async def refetch(self: Task[..., bytes], url: str) -> bytes:
    return url.encode()


@shared_task
def half(x: int) -> float:
    return x / 2


@shared_task(queue="later")
def third(x: int) -> float:
    return x / 3


@shared_task(bind=True)
def named(self: Task[..., str], x: int) -> str:
    return f"{self.name} {x}"


@shared_task
async def look(url: str) -> bytes:
    return url.encode()


async def calls() -> None:
    assert_type(add.delay(2, 2), AsyncResult[int])
    assert_type(add.delay(2, 2).get(), int)
    assert_type(add(2, 2), int)
    assert_type(add.apply_async((2, 2), countdown=3), AsyncResult[int])
    assert_type(add.apply_many([(1, 1), (2, 2)]), list[AsyncResult[int]])
    assert_type(describe.delay("a", loud=True).get(timeout=1), str)
    assert_type(count.delay(["a"]).get(), dict[str, int])
    assert_type(fetch.delay("u").get(), bytes)
    assert_type(refetch.delay("u").get(), bytes)
    assert_type(await fetch("u"), bytes)
    assert_type(await refetch("u"), bytes)
    assert_type(half.delay(1).get(), float)
    assert_type(third.delay(1).get(), float)
    assert_type(third(1), float)
    assert_type(named.delay(1).get(), str)
    assert_type(look.delay("u").get(), bytes)
    assert_type(await look("u"), bytes)
    assert_type(await add.adelay(2, 2), AsyncResult[int])
    assert_type(await (await fetch.adelay("u")), bytes)


def workflows() -> None:
    """Signatures compose with ``|``, whatever they are."""
    assert_type(add.s(1, 2) | add.s(3), Signature)
    assert_type(group(add.s(1, 2), add.s(3, 4)) | add.s(5), Signature)
    flow = chord([add.s(1, 2)], add.s(3))
    flow.apply_async(countdown=1)
    assert_type(flow.clone(), chord)
    assert_type(add.s(1, 2).set(queue="q"), Signature)
