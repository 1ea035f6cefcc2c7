"""A wire between clients and a server that a test can cut, stall, darken and slow down.

::

    with Proxy(server.port) as proxy:
        broker = RedisBroker(f"redis://127.0.0.1:{proxy.port}/0", ...)
        proxy.blackhole()
        ...
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

__all__ = ["Direction", "Proxy"]

Direction = Literal["to_server", "to_client"]

T = TypeVar("T")

_PIECE = 65_536
_MOST_PIECES_UNDER_WAY = 64
_PATIENCE = 60.0
# Closing a socket that lingers for no time resets the connection, as a dead host's router does.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes between a port of its own and a server's, until it is told otherwise.

    It works in a thread of its own: its methods may be called from tests with and without an
    event loop, hold for all connections, and have happened when they return.

    Args:
        target: The server's port.
        host: The server's host; the proxy itself is always on the loopback.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        self.latency = 0.0
        """Seconds that every piece takes, each way; may be changed at any time."""
        self._target = host, target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._wires: set[_Wire] = set()
        self._open_gate: asyncio.Event | None = None
        self._dark = False
        self._muted: set[Direction] = set()
        self._budgets: dict[Direction, int] = {}
        self.passed: dict[Direction, int] = {"to_server": 0, "to_client": 0}
        """Bytes that have been passed on, each way: never fewer than the other end has seen."""
        self.cuts = 0
        """How many connections :meth:`cut_after` has reset."""
        self.port = 0
        """Where clients connect to, on 127.0.0.1; stays the same until :meth:`close`."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many clients are connected at the moment."""
        return len(self._wires)

    def cut(self) -> None:
        """Reset every connection. New ones are welcome, unless :meth:`refuse` says otherwise."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Let nobody connect any more, until :meth:`heal`; connections that stand stay."""
        self._run(self._refuse())

    def stall(self) -> None:
        """Pass nothing any more; it is kept, and passed on after :meth:`heal`.

        As when the server hangs: connections can be made, and are not answered.
        """
        self._run(self._stall())

    def blackhole(self) -> None:
        """Drop whatever arrives, for good, and tell neither end of anything.

        As when a firewall forgets a connection: no reset, no end, no answer. Connections can be
        made, and are not answered. :meth:`heal` resets those that were there in the dark.
        """
        self._run(self._blackhole())

    def forget(self) -> None:
        """Drop whatever arrives on the connections that stand, for good; new ones work.

        As when a firewall has been restarted, or an address has moved to another machine.
        """
        self._run(self._forget())

    def mute(self, direction: Direction) -> None:
        """Drop whatever goes this way from now on; the other way, all arrives.

        :meth:`heal` resets the connections on which something was dropped.
        """
        self._run(self._mute(direction))

    def cut_after(self, count: int, direction: Direction = "to_server") -> None:
        """Reset the connection that passes byte number ``count`` from now, right after it.

        Once; bytes of all connections count together.
        """
        self._run(self._set_budget(direction, count))

    def heal(self) -> None:
        """Undo :meth:`refuse`, :meth:`stall`, :meth:`blackhole` and :meth:`mute`; forget
        :meth:`cut_after`."""
        self._run(self._heal())

    def wait_for(self, condition: Callable[[Proxy], bool], timeout: float = _PATIENCE) -> None:
        """Wait until a condition holds, for example that somebody has connected.

        Raises:
            TimeoutError: It does not in time.
        """
        deadline = time.monotonic() + timeout
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"what the proxy waited for did not happen in {timeout:g} s")
            time.sleep(0.005)

    def close(self) -> None:
        """Reset everything and end. Idempotent."""
        if self._loop.is_closed():
            return
        self._run(self._refuse())
        self._run(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    # In the thread ----------------------------------------------------------------------------

    def _run(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(_PATIENCE)

    async def _listen(self) -> None:
        if self._open_gate is None:
            self._open_gate = asyncio.Event()
            self._open_gate.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self, *, only_doomed: bool = False) -> None:
        wires = [wire for wire in self._wires if wire.is_doomed or wire.has_lost or not only_doomed]
        for wire in wires:
            wire.reset()
        if wires:
            await asyncio.wait([wire.task for wire in wires])

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _stall(self) -> None:
        self._gate.clear()

    async def _blackhole(self) -> None:
        self._dark = True
        for wire in self._wires:
            wire.is_doomed = True

    async def _forget(self) -> None:
        for wire in self._wires:
            wire.is_doomed = True

    async def _mute(self, direction: Direction) -> None:
        self._muted.add(direction)

    async def _set_budget(self, direction: Direction, count: int) -> None:
        self._budgets[direction] = count

    async def _heal(self) -> None:
        self._dark = False
        self._muted.clear()
        self._budgets.clear()
        await self._cut(only_doomed=True)
        self._gate.set()
        await self._listen()

    @property
    def _gate(self) -> asyncio.Event:
        assert self._open_gate is not None, "the proxy was not started: use it as a context"
        return self._open_gate

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        wire = _Wire(task, writer, is_doomed=self._dark)
        self._wires.add(wire)
        try:
            await self._serve(wire, reader)
        except* (OSError, asyncio.CancelledError):
            # Cut, on either side or by the test: the other end hears of it below.
            pass
        finally:
            self._wires.discard(wire)
            wire.abort()

    async def _serve(self, wire: _Wire, reader: asyncio.StreamReader) -> None:
        if wire.is_doomed:
            await asyncio.get_running_loop().create_future()
        back, there = await asyncio.open_connection(*self._target)
        wire.ends.append(there)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(wire, reader, there, "to_server"))
            group.create_task(self._pump(wire, back, wire.ends[0], "to_client"))

    async def _pump(
        self,
        wire: _Wire,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        """Read pieces, and write them when their time has come."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES_UNDER_WAY)

        async def write() -> None:
            while True:
                due, piece = await pieces.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                await self._gate.wait()
                if not piece:
                    await self._end(wire, sink)
                    return
                if direction in self._muted:
                    wire.has_lost = True
                elif not wire.is_doomed:
                    await self._pass(wire, sink, piece, direction)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while True:
                try:
                    piece = await source.read(_PIECE)
                except ConnectionError:
                    if not wire.is_doomed:
                        raise
                    piece = b""
                await pieces.put((loop.time() + self.latency, piece))
                if not piece:
                    return

    async def _end(self, wire: _Wire, sink: asyncio.StreamWriter) -> None:
        """One end has said all it had to say."""
        if wire.is_doomed:
            # Neither hears of it, until the wire is reset.
            await asyncio.get_running_loop().create_future()
        with contextlib.suppress(OSError):
            sink.write_eof()

    async def _pass(
        self, wire: _Wire, sink: asyncio.StreamWriter, piece: bytes, direction: Direction
    ) -> None:
        budget = self._budgets.get(direction)
        is_last = budget is not None and budget <= len(piece)
        if budget is not None:
            piece = piece[:budget]
            self._budgets[direction] = budget - len(piece)
        # Before they are sent: whoever receives them may ask at once.
        self.passed[direction] += len(piece)
        sink.write(piece)
        await sink.drain()
        if is_last:
            del self._budgets[direction]
            self.cuts += 1
            wire.reset()
            await asyncio.get_running_loop().create_future()


class _Wire:
    """One client's connection and the one that was made for it."""

    def __init__(
        self, task: asyncio.Task[Any], client: asyncio.StreamWriter, *, is_doomed: bool
    ) -> None:
        self.task = task
        self.ends = [client]
        self.is_doomed = is_doomed
        """Whether bytes were lost on it both ways: it can only be reset."""
        self.has_lost = False
        """Whether bytes were lost on it one way: neither."""

    def reset(self) -> None:
        self.task.cancel()

    def abort(self) -> None:
        for end in self.ends:
            raw = end.get_extra_info("socket")
            if raw is not None and not end.transport.is_closing():
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
