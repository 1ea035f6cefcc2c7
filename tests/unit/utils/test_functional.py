"""``celery.utils.functional``, ``objects`` and ``serialization``."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from umbel.utils import functional
from umbel.utils.functional import LRUCache, firstmethod, head_from_fun, lazy, memoize, mlazy
from umbel.utils.objects import mro_lookup
from umbel.utils.serialization import b64decode, b64encode, strtobool


def test_a_full_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: LRUCache[str, int] = LRUCache(limit=2)
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    cache["c"] = 3

    assert list(cache.items()) == [("a", 1), ("c", 3)]


def test_a_cache_survives_pickling_with_its_limit() -> None:
    cache: LRUCache[str, int] = LRUCache(limit=2)
    cache.update(a=1, b=2)

    copy = pickle.loads(pickle.dumps(cache))

    assert (list(copy.items()), copy.limit) == ([("a", 1), ("b", 2)], 2)


def test_remembered_calls_are_made_once_until_they_are_cleared() -> None:
    calls: list[int] = []
    double: Any = memoize(maxsize=2)(lambda x: calls.append(x) or 2 * x)

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert (calls, double.hits, double.misses) == ([1, 2], 1, 2)
    double.clear()
    double(1)
    assert calls == [1, 2, 1]


def test_lazy_calls_each_time_and_mlazy_once() -> None:
    calls: list[str] = []
    each, once = lazy(calls.append, "each"), mlazy(calls.append, "once")
    for call in (each, each, once, once):
        call()

    assert calls == ["each", "each", "once"]


def test_the_first_object_with_an_answer_is_asked() -> None:
    ask = firstmethod("get")

    assert ask([object(), {"b": 2}, lazy(dict, a=1), {"a": 3}], "a") == 1
    assert ask([{}], "a") is None


def test_the_head_of_a_function_takes_what_the_function_takes() -> None:
    def send(to: str, subject: str = "", *, urgent: bool = False) -> None: ...

    head = head_from_fun(send)

    head("you", urgent=True)
    with pytest.raises(TypeError, match="subjekt"):
        head("you", subjekt="")
    head_from_fun(lambda self, x: None, bound=True)(1)


def test_chunks_take_only_what_they_give() -> None:
    items = iter(range(5))

    assert next(iter(functional.chunks(items, 2))) == [0, 1]
    assert next(items) == 2


def test_strings_are_one_value_and_lists_are_many() -> None:
    assert [functional.is_list(value) for value in ("a", {"a": 1}, ["a"], {1})] == [
        *(False, False),
        *(True, True),
    ]


def test_keyword_arguments_are_accepted_where_the_function_says_so() -> None:
    assert functional.fun_accepts_kwargs(lambda **kw: kw)
    assert not functional.fun_accepts_kwargs(lambda kw: kw)


def test_the_class_that_gives_an_attribute_is_found() -> None:
    class Base:
        def run(self) -> None: ...

    class Mine(Base):
        def stop(self) -> None: ...

    assert mro_lookup(Mine, "run") is Base
    assert mro_lookup(Mine, "stop", stop={Base}) is Mine
    assert mro_lookup(Mine, "run", stop={Base}, monkey_patched=[__name__]) is None
    assert mro_lookup(Mine, "run", stop={Base}) is Base


def test_bytes_and_texts_come_back_from_base64() -> None:
    assert b64decode(b64encode("héllo")) == "héllo".encode()
    assert b64decode(b64encode(b"\0\xff")) == b"\0\xff"


def test_words_for_truth() -> None:
    assert [strtobool(word) for word in ("on", "No", "1", 5)] == [True, False, True, 5]
    with pytest.raises(TypeError, match="maybe"):
        strtobool("maybe")
