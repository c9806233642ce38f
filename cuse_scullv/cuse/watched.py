"""WatchedSession: the session of a device that is told of the deaths of its clients.

Only such a device pays for it: each request is asked whose it is (clients.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from .answer import logger
from .client import Client
from .clients import Clients
from .current import current
from .device import Device
from .file import File
from .loop import handler_loop, start
from .pool import Pool, Worker
from .request import Request
from .session import Session

if TYPE_CHECKING:
    from cuse_scullv._native import Call

_CALLERS = 4  # client_gone() that run at once; more where they hang (pool.py)


class WatchedSession(Session):
    """As Session, with a client for each request."""

    def __init__(self, device: Device, callers: int, on_end: Callable[[], None]) -> None:
        super().__init__(device, callers, on_end)
        self._clients = Clients(self._gone)
        self._tellers = Pool(_CALLERS)

    def _begin(self, call: Call, file: File, handler: str) -> Request | None:
        client = None
        if file._number and handler != "release":  # whose caller is nobody
            client = self._clients.note(file, call.pid, call.uid, call.gid)
        request = super()._begin(call, file, handler)
        if request is not None and client is not None:
            request.client = client
        return request

    def finish_open(self, request: Request, state: Any) -> None:
        if not inspect.isawaitable(state):  # else this is called again
            self._clients.note(request.file, request.pid, request.uid, request.gid)
        super().finish_open(request, state)

    def _on_release(self, call: Call) -> None:
        file = self.files.get(call.open)
        if file is not None:
            file.ending = self._clients.release(file)
        super()._on_release(call)

    def release_now(self, file: File) -> None:
        self._clients.release(file)
        super().release_now(file)

    def finish(self) -> None:
        self._clients.end()
        super().finish()
        self._tellers.close()

    # --- client_gone ------------------------------------------------------------------------

    def _gone(self, file: File, client: Client) -> None:
        if self._closing or self.files.get(file._number) is not file:
            return
        caller = SimpleNamespace(id=0, pid=client.pid, uid=client.uid, gid=client.gid)
        request = Request(cast("Call", caller), file, "client_gone")
        request.client = client
        if inspect.iscoroutinefunction(self.device.client_gone):
            handler_loop().call_soon_threadsafe(start, self._tell_async(request, client))
        else:
            self._tellers.submit(lambda worker: self._tell(worker, request, client))

    def _tell(self, worker: Worker, request: Request, client: Client) -> None:
        request.worker = worker
        current.set(request)
        lock = self.keeping.lock if self.keeping is not None else None
        if lock is None:
            self._call_gone(request, client)
            return
        with lock:
            request.alone = lock
            self._call_gone(request, client)

    def _call_gone(self, request: Request, client: Client) -> None:
        try:
            result = self.device.client_gone(request.file, client)
        except BaseException:  # noqa: BLE001 - no client hears of it
            logger.exception("%s: client_gone() raised", self.device.name)
            return
        if inspect.isawaitable(result):  # as of a functools.partial of a coroutine
            handler_loop().call_soon_threadsafe(start, self._await_gone(request, result))
        else:
            self._keep_gone(request)

    async def _tell_async(self, request: Request, client: Client) -> None:
        current.set(request)
        await self._await_gone(request, self.device.client_gone(request.file, client))

    async def _await_gone(self, request: Request, result: Any) -> None:
        current.set(request)
        try:
            await result
        except BaseException:  # noqa: BLE001 - no client hears of it
            logger.exception("%s: client_gone() raised", self.device.name)
        else:
            self._keep_gone(request)

    def _keep_gone(self, request: Request) -> None:
        if self.keeping is not None:
            self.keeping.save_now(request)
