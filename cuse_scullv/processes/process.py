"""The process of a worker: how it begins, gives up its privileges, and ends."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

from cuse_scullv._errors import check
from cuse_scullv._native import lib
from cuse_scullv.processes import privileges
from cuse_scullv.processes.background import let_go, name_process
from cuse_scullv.processes.messages import receive, send
from cuse_scullv.processes.priority import come_first, take_turns
from cuse_scullv.processes.worker import Ends

FAILED = 1
"""Exit status: it could not begin, and said why."""
ORPHANED = 3
"""Exit status: its keeper is gone."""
CRASHED = 70
"""Exit status: an exception that nobody expected (EX_SOFTWARE)."""

logger = logging.getLogger(__name__)


def work(
    serve: Callable[[], None], ends: Ends, user: privileges.User | None, drop: bool
) -> NoReturn:
    """The life of a worker, which does `serve` as `user`, without privileges where `drop` says so;
    in the process that was forked for it."""
    words = ends.words
    status = CRASHED
    try:
        name_process("scullv-spare")
        come_first()
        faulthandler.enable(words)
        lib.last_words(words)
        check(lib.canary_start(ends.canary))
        if drop:
            privileges.drop(user)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)  # the keeper has them too, and says what to do
        threading.excepthook = lambda args: _die(words, args.exc_value)
        serve()
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the keeper hears of it
        _say(words, error)
    finally:
        logging.shutdown()
        os._exit(status)


def obey(
    ends: Ends,
    prepare: Callable[[ExitStack], Callable[[], None]],
    orders: Mapping[str, Callable[[], None]],
) -> None:
    """Prepares to serve; at the order "serve", which comes when no other worker is there any more,
    calls what `prepare` has returned; and does what the keeper says until it says "quit". What
    `prepare` puts on the stack is undone then."""
    with ExitStack() as stack:
        try:
            start = prepare(stack)
            hear(ends.orders)
            name_process("scullv-worker")
            start()
            take_turns()
        except OSError as error:
            send(ends.orders, failed=str(error.strerror or error))
            stack.close()
            os._exit(FAILED)
        send(ends.orders, ready=True)
        while (order := hear(ends.orders)["do"]) != "quit":
            if order == "let_go":
                let_go()
            elif order in orders:
                orders[order]()
            send(ends.orders, done=order)


def hear(end: socket.socket) -> dict[str, Any]:
    """What the keeper says. Where it is gone this process ends in the midst of all, as it did: what
    is under way is for the next one, if a service manager starts one."""
    return receive(end) or os._exit(ORPHANED)


def tell(ends: Ends, **news: Any) -> None:
    """The keeper, if there is one still."""
    try:
        send(ends.orders, **news)
    except OSError:
        logger.debug("the keeper is gone")


def _say(words: int, error: BaseException | None) -> None:
    os.write(words, "".join(traceback.format_exception(error)).encode()[-4000:])


def _die(words: int, error: BaseException | None) -> None:
    _say(words, error)
    os._exit(CRASHED)
