"""Faults of time: schedulers that die, and clocks that are set or wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from umbel.testing.servers import RabbitMQServer

from .ledger import Tree
from .scenarios import Play, Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["TIMES"]

_SERVERS = ("redis", "rabbitmq")
_TICKS = 3
_HOUR = 3600
_SKEW = 300.0
"""Seconds between the clocks of two machines and the right time."""
_AWAY = 10.0


class _Beats:
    """Schedulers; one entry, every second, and none of its times is to be left out."""

    def __init__(self, stage: Stage, count: int) -> None:
        self._site = stage.site
        if isinstance(self._site.server, RabbitMQServer):
            self._site.env["SCHEDULE"] = f"sqlite:///{self._site.folder / 'schedule.db'}"
        self.trees = [self._start() for _ in range(count)]

    def _start(self) -> Tree:
        return self._site.start("beat", "--max-interval", "0.5")

    def again(self, place: int) -> None:
        """One that was killed is started again."""
        self.trees[place] = self._start()

    def end(self) -> None:
        """As a service manager does it."""
        for tree in self.trees:
            if tree.process.poll() is None:
                tree.stop()


def _ticked(stage: Stage, more: int = _TICKS) -> None:
    stage.started(more, timeout=60)


def _counted(stage: Stage, fleet: Fleet, beats: _Beats) -> Outcome:
    """Every second between the first and the last one that was run."""
    _ticked(stage)
    beats.end()
    ledger = stage.site.ledger
    fleet.until(lambda: ledger.count("end").keys() == ledger.count("start").keys(), 60, "they end")
    # What a worker that is there has not taken by now, it never will.
    time.sleep(2)
    ends = ledger.count("end")
    due = range(min(ends), max(ends) + 1)
    outcome = Outcome(sent=len(due), recovery=stage.recovered or 0.0)
    outcome.lost = outcome.never_ended = len(due) - len(ends)
    outcome.repeats = stage.site.repeats()
    return outcome


def _scheduled(
    play: Callable[[Stage, Fleet, _Beats], Outcome], schedulers: int
) -> Callable[[Stage, Fleet], Outcome]:
    def run(stage: Stage, fleet: Fleet) -> Outcome:
        beats = _Beats(stage, schedulers)
        try:
            _ticked(stage)
            return play(stage, fleet, beats)
        finally:
            for tree in beats.trees:
                if tree.process.poll() is None:
                    tree.kill()

    return run


def _slowest(stage: Stage) -> None:
    """The next tick shows that somebody sends again."""
    since = stage.fault_at
    _ticked(stage, 1)
    stage.recovered = max(stage.recovered or 0.0, time.monotonic() - since)


def _beat_killed(stage: Stage, fleet: Fleet, beats: _Beats) -> Outcome:
    for _ in range(int(3 * stage.scale) + 1):
        _ticked(stage)
        stage.kill(beats.trees[0])
        beats.again(0)
        _slowest(stage)
    return _counted(stage, fleet, beats)


def _beats_killed_and_frozen(stage: Stage, fleet: Fleet, beats: _Beats) -> Outcome:
    """Whoever leads, both have their turn."""
    for place in (0, 1):
        _ticked(stage)
        stage.kill(beats.trees[place])
        _slowest(stage)
        beats.again(place)
        _ticked(stage)
        stage.freeze(beats.trees[place - 1])
        _slowest(stage)
        # Longer than it may lead without a word.
        time.sleep(_AWAY)
        stage.thaw(beats.trees[place - 1])
    return _counted(stage, fleet, beats)


def _beat_without_broker(stage: Stage, fleet: Fleet, beats: _Beats) -> Outcome:
    server = stage.site.server
    assert server is not None
    with stage.outage():
        server.kill()
        time.sleep(_AWAY)
        server.start()
    _slowest(stage)
    return _counted(stage, fleet, beats)


def _by_hand(play: Callable[[Stage, Fleet, Path], Outcome]) -> Play:
    """Where one clock serves all, and is set while they work."""

    def run(stage: Stage) -> Outcome:
        path = stage.site.use_clock()
        return with_fleet(lambda stage, fleet: play(stage, fleet, path), size=2)(stage)

    return run


def _set_by(seconds: int) -> Play:
    """While tasks run, some of them for long, and others are in hand."""

    def play(stage: Stage, fleet: Fleet, clock: Path) -> Outcome:
        stage.send("late", 4, 3.0)
        stage.send("late", 120, 0.1)
        stage.send("early", 20, 0.1)
        stage.started(4)
        stage.struck()
        set_clock(clock, seconds)
        stage.probe()
        outcome = stage.finish(fleet)
        outcome.wrong = "the worker ended" if fleet.restarts else ""
        return outcome

    return _by_hand(play)


def _set_while_it_ticks(seconds: int) -> Play:
    """No time is run twice, and times go on to come."""

    def play(stage: Stage, fleet: Fleet, clock: Path) -> Outcome:
        beats = _Beats(stage, 1)
        try:
            _ticked(stage)
            stage.struck()
            set_clock(clock, seconds)
            _slowest(stage)
            _ticked(stage)
            outcome = _counted(stage, fleet, beats)
        finally:
            beats.end()
        # The hour in between has not been, but for what is made up for.
        outcome.sent -= outcome.lost
        outcome.lost = outcome.never_ended = 0
        return outcome

    return _by_hand(play)


def set_clock(path: Path, seconds: float) -> None:
    """All at once: a reader never sees half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(str(seconds))
    fresh.replace(path)


def _apart(stage: Stage) -> Outcome:
    """Two machines whose clocks are ten minutes apart, and one of them dies."""
    fleets: list[Fleet] = []
    try:
        for skew in (_SKEW, -_SKEW):
            clock = stage.site.folder / f"clock{skew:+.0f}"
            clock.write_text(str(skew))
            stage.site.env["CLOCK"] = str(clock)
            fleets.append(Fleet(stage.site))
        stage.send("late", 60, 0.05, expires=_SKEW / 5)
        later = time.monotonic() + 8.0
        stage.send("late", 20, 0.0, countdown=8.0)
        stage.started(10)
        stage.kill(fleets[0].trees[0])
        outcome = stage.finish(fleets[1])
        early = sum(
            run.number >= 60 and run.start < later - 1.0 for run in stage.site.ledger.runs()
        )
        outcome.wrong = f"{early} ran before their time" if early else ""
        states = Counter(each.state for each in stage.results)
        if [*states] != ["SUCCESS"]:
            outcome.wrong = f"not all have run: {dict(states)}"
        return outcome
    finally:
        for fleet in fleets:
            fleet.kill()


TIMES = (
    Scenario("F45 beat killed", with_fleet(_scheduled(_beat_killed, 1))),
    Scenario("F45 two beats, killed, frozen", with_fleet(_scheduled(_beats_killed_and_frozen, 2))),
    Scenario(
        "F45 beat without broker 10 s", with_fleet(_scheduled(_beat_without_broker, 1)), _SERVERS
    ),
    Scenario("F47 clock 1 h forward", _set_by(_HOUR)),
    Scenario("F47 clock 1 h back", _set_by(-_HOUR)),
    Scenario("F47 clock forward, beat", _set_while_it_ticks(_HOUR)),
    Scenario("F47 clock back, beat", _set_while_it_ticks(-_HOUR)),
    Scenario("F48 clocks 10 min apart", _apart, ("redis",)),
)
