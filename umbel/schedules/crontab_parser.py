"""The language of crontab fields: ``*``, ``*/5``, ``1-5``, ``mon-fri``, ``8-18/2``, lists of them.

Source:
    Celery reference, ``crontab_parser``: grammar; ranges that wrap around; names by their first
    three letters.
"""

from __future__ import annotations

import re

__all__ = ["ParseException", "crontab_parser"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\w*))?", re.ASCII)


class ParseException(ValueError):
    """A crontab field is not in the language of crontab fields."""


class crontab_parser:  # noqa: N801 - Celery's name
    """Reads crontab fields whose numbers go from ``min_`` to ``min_ + max_ - 1``.

    >>> sorted(crontab_parser(60).parse("*/15"))
    [0, 15, 30, 45]
    >>> sorted(crontab_parser(31, 1).parse("1,30-2"))
    [1, 2, 30, 31]
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """The numbers that a field stands for.

        Raises:
            ParseException: It is not in the language.
            ValueError: A number is out of range, or a name is neither a month nor a weekday.
        """
        numbers: set[int] = set()
        for part in spec.split(","):
            numbers.update(self._parse_part(part.strip(), spec))
        return numbers

    def _parse_part(self, part: str, spec: str) -> range | list[int]:
        if part.startswith("-"):
            raise ParseException(f"crontab field {spec!r}: negative numbers are not supported.")
        found = _PART.fullmatch(part)
        if found is None or found[4] == "":
            raise ParseException(
                f"crontab field {spec!r}: cannot read {part!r}. Write *, a number, a name, a "
                "range like 1-5, any of * or a range with a step like */15, or a list of these."
            )
        star, first, last, step = found.groups()
        every = 1
        if step is not None:
            every = self._step(step, spec)
            if star is None and last is None:
                raise ParseException(
                    f"crontab field {spec!r}: a step needs something to go through: "
                    f"write {first}-{self._greatest}/{step} or */{step}."
                )
        if star is not None:
            return range(self.min_, self._greatest + 1, every)
        begin = self._number(first)
        if last is None:
            return [begin]
        end = self._number(last)
        if end >= begin:
            return range(begin, end + 1, every)
        # Over the end and on: fri-mon, 22-2.
        around = [*range(begin, self._greatest + 1), *range(self.min_, end + 1)]
        return around[::every]

    @property
    def _greatest(self) -> int:
        return self.min_ + self.max_ - 1

    def _step(self, text: str, spec: str) -> int:
        if not text.isdigit() or int(text) == 0:
            raise ParseException(
                f"crontab field {spec!r}: the step {text!r} must be a number above 0."
            )
        return int(text)

    def _number(self, text: str) -> int:
        if text.isdigit():
            number = int(text)
        else:
            short = text[:3].lower()
            if short in _MONTHS:
                number = _MONTHS.index(short) + 1
            elif short in _WEEKDAYS:
                number = _WEEKDAYS.index(short)
            else:
                raise ValueError(f"Invalid weekday literal {text!r}.")
        if number > self._greatest:
            raise ValueError(f"Invalid end range: {number} > {self._greatest}.")
        if number < self.min_:
            raise ValueError(f"Invalid beginning range: {number} < {self.min_}.")
        return number
