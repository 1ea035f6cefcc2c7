"""Logging as the settings say."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, signals
from umbel.app.log import Logging, TaskFormatter
from umbel.utils.log import ColorFormatter, LoggingProxy, get_task_logger, task_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    loggers = (logging.getLogger(), task_logger, logging.getLogger("umbel.redirected"))
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture
def app() -> Umbel:
    return Umbel("shop", broker="memory://", set_as_current=False)


def test_a_line_has_celerys_form(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "worker.log"

    Logging(app).setup("INFO", str(path))
    logging.getLogger("shop").info("hello")

    line = path.read_text()
    assert line.endswith("INFO/MainProcess] hello\n")
    assert line.startswith("[2")


def test_a_log_file_that_was_moved_away_begins_anew(app: Umbel, tmp_path: Path) -> None:
    path, moved = tmp_path / "worker.log", tmp_path / "worker.log.1"
    Logging(app).setup("INFO", str(path))
    logging.getLogger("shop").info("before")
    get_task_logger("shop.tasks").info("before")
    path.rename(moved)

    logging.getLogger("shop").info("after")
    get_task_logger("shop.tasks").info("after")

    assert (moved.read_text().count("before"), moved.read_text().count("after")) == (2, 0)
    assert (path.read_text().count("before"), path.read_text().count("after")) == (0, 2)


def test_a_log_that_cannot_be_written_is_said_once_and_raises_nothing(
    app: Umbel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = tmp_path / "logs", io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", said)
    folder.mkdir()
    Logging(app).setup("INFO", str(folder / "worker.log"))
    folder.rename(tmp_path / "elsewhere")

    for _ in range(3):
        logging.getLogger("shop").info("lost")
    assert said.getvalue().count("Cannot write the log to ") == 1
    assert "No such file or directory" in said.getvalue()

    folder.mkdir()
    logging.getLogger("shop").info("again")
    assert (folder / "worker.log").read_text().endswith("again\n")


def test_a_line_of_a_task_names_the_task(app: Umbel, tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    Logging(app).setup("INFO", str(path))
    logger = get_task_logger("shop.tasks")

    @app.task(name="shop.greet")
    def greet() -> None:
        logger.info("inside")

    greet.apply(task_id="the-id")
    logger.info("outside")

    lines = [line for line in path.read_text().splitlines() if line.endswith("side")]
    inside, outside = lines
    assert inside.endswith("] shop.greet[the-id]: inside")
    assert outside.endswith("] ???[???]: outside")


def test_the_formats_are_settings(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_log_format = "%(asctime)s %(message)s %(task_name)s"
    app.conf.worker_log_datefmt = "today"
    path = tmp_path / "worker.log"

    Logging(app).setup("INFO", str(path))
    logging.getLogger("shop").info("hello")

    assert path.read_text() == "today hello ???\n"


def test_the_name_of_the_file_holds_the_name_of_the_worker(app: Umbel, tmp_path: Path) -> None:
    Logging(app).setup("INFO", str(tmp_path / "%n.log"), hostname="mail@a1")

    assert (tmp_path / "mail.log").exists()


def test_handlers_of_the_root_logger_are_replaced_unless_told_otherwise(app: Umbel) -> None:
    own = logging.NullHandler()
    logging.getLogger().addHandler(own)

    app.conf.worker_hijack_root_logger = False
    Logging(app).setup("INFO")
    assert own in logging.getLogger().handlers

    app.conf.worker_hijack_root_logger = True
    Logging(app).setup("INFO")
    assert own not in logging.getLogger().handlers


def test_whoever_listens_to_setup_logging_does_it_himself(app: Umbel) -> None:
    before = logging.getLogger().handlers[:]
    told: dict[str, Any] = {}

    def setup(**named: Any) -> None:
        told.update(named)

    signals.setup_logging.connect(setup)
    try:
        handled = Logging(app).setup("DEBUG", redirect_stdouts=True)
    finally:
        signals.setup_logging.disconnect(setup)

    assert handled
    assert told["loglevel"] == logging.DEBUG
    assert logging.getLogger().handlers == before
    assert not isinstance(sys.stdout, LoggingProxy)


def test_receivers_may_add_to_what_was_set_up(app: Umbel) -> None:
    seen: list[str] = []

    def add(logger: logging.Logger, **_: Any) -> None:
        seen.append(logger.name)

    signals.after_setup_logger.connect(add)
    signals.after_setup_task_logger.connect(add)
    try:
        Logging(app).setup("INFO")
    finally:
        signals.after_setup_logger.disconnect(add)
        signals.after_setup_task_logger.disconnect(add)

    assert seen == ["root", "umbel.task"]


def test_what_is_printed_goes_to_the_log(
    app: Umbel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "worker.log"
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)

    Logging(app).setup("INFO", str(path), redirect_stdouts=True, redirect_level="ERROR")
    print("one")
    print("two", "words", file=sys.stderr)
    print()

    lines = path.read_text().splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["one", "two words"]
    assert all("ERROR" in line for line in lines)


def test_a_handler_that_prints_does_not_print_for_ever() -> None:
    class Loud(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            proxy.write("again")

    logger = logging.getLogger("loud")
    logger.propagate = False
    logger.addHandler(Loud())
    proxy = LoggingProxy(logger, "WARNING")

    assert proxy.write("once\n") == 5


def test_what_is_printed_in_parts_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    proxy = LoggingProxy(logging.getLogger("printed"), "INFO")
    caplog.set_level("INFO")

    proxy.writelines(["a", " b", "\nc\n", "", "\n", "d"])
    assert caplog.messages == ["a b", "c"]

    proxy.flush()
    assert caplog.messages == ["a b", "c", "d"]

    proxy.close()
    assert proxy.write("too late\n") == 0
    assert not proxy.isatty()
    with pytest.raises(TypeError, match="takes text, not bytes"):
        proxy.write(b"x")


def test_colours_depend_on_the_level() -> None:
    record = logging.LogRecord("n", logging.ERROR, __file__, 1, "hello", (), None)

    assert ColorFormatter("%(message)s").format(record) == "\033[1;31mhello\033[0m"
    assert ColorFormatter("%(message)s", use_color=False).format(record) == "hello"
    assert TaskFormatter("%(task_id)s %(message)s", use_color=False).format(record) == "??? hello"


def test_files_and_pipes_are_not_coloured(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Logging(app)
    monkeypatch.delenv("NO_COLOR", raising=False)

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "__stderr__", Terminal())

    assert log.supports_color() is True
    assert log.supports_color(logfile="worker.log") is False
    assert log.supports_color(colorize=False) is False
    monkeypatch.setenv("NO_COLOR", "1")
    assert log.supports_color() is False


def test_an_unknown_level_is_an_error(app: Umbel) -> None:
    with pytest.raises(ValueError, match="'LOUD' is not a log level"):
        Logging(app).setup("LOUD")
