"""Arguments that arrive as models, and results that leave as dicts."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from .conftest import Shop


class Order(BaseModel):
    item: str
    count: int = 1


class Receipt(BaseModel):
    total: int


class Nosy(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def look(cls, value: int, info: ValidationInfo) -> int:
        assert info.context is not None
        return value * int(info.context["factor"])


def test_dicts_become_models_and_a_model_becomes_a_dict(app: Shop) -> None:
    @app.task(pydantic=True, name="buy")
    def buy(order: Order, price: int) -> Receipt:
        assert isinstance(order, Order)
        return Receipt(total=order.count * price)

    assert buy.apply(({"item": "tea", "count": "3"}, 2)).get() == {"total": 6}
    assert buy({"item": "tea"}, price=2) == {"total": 2}
    assert buy(Order(item="tea", count=2), 2) == {"total": 4}


def test_optional_models_may_be_none(app: Shop) -> None:
    @app.task(pydantic=True, name="maybe")
    def maybe(order: Order | None = None) -> str:
        return "none" if order is None else order.item

    assert maybe() == "none"
    assert maybe({"item": "tea"}) == "tea"
    assert maybe(None) == "none"


def test_wrong_arguments_fail_the_task(app: Shop) -> None:
    @app.task(pydantic=True, name="buy")
    def buy(order: Order) -> None: ...

    result = buy.apply(({"item": "tea", "count": "many"},))

    assert result.state == "FAILURE"
    with pytest.raises(ValidationError, match="count"):
        result.get()


def test_strictness_context_and_dump_arguments_are_passed_on(app: Shop) -> None:
    @app.task(pydantic=True, pydantic_strict=True, name="strict")
    def strict(order: Order) -> None: ...

    @app.task(
        pydantic=True,
        pydantic_context={"factor": 3},
        pydantic_dump_kwargs={"include": set()},
        name="nosy",
    )
    def nosy(given: Nosy) -> Nosy:
        assert given.value == 6
        return given

    with pytest.raises(ValidationError):
        strict({"item": "tea", "count": "3"})
    assert nosy({"value": 2}) == {}


async def test_coroutine_functions_are_converted_too(app: Shop) -> None:
    @app.task(pydantic=True, name="buy")
    async def buy(order: Order) -> Receipt:
        return Receipt(total=order.count)

    assert buy.is_coroutine
    assert await buy({"item": "tea", "count": 4}) == {"total": 4}


def test_arguments_are_checked_where_the_call_is_made(app: Shop) -> None:
    @app.task(pydantic=True, bind=True, name="buy")
    def buy(self: object, order: Order) -> None: ...

    buy.delay({"item": "tea"})
    with pytest.raises(TypeError, match="order"):
        buy.delay()


def test_annotations_that_cannot_be_resolved_do_not_stop_the_program(app: Shop) -> None:
    def function(order: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError, match="Missing"):
        app.task(pydantic=True, name="bad")(function)
