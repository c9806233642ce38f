"""Interrupts of a real-time clock: the alarm, new seconds, periods, until a client reads them.

As drivers/rtc/interface.c makes them of one alarm of the hardware and a timer: the alarm and the
seconds follow the clock, periods do not."""

from __future__ import annotations

import datetime
import time
from typing import Any, Protocol

from cuse_scullv import cuse

from . import rtc_uapi as uapi
from .steps import Steps, either
from .timer import Timer

_SECOND = datetime.timedelta(seconds=1)
_NOTHING = datetime.timedelta(0)
_LOOK_S = 1.0  # between two looks at the clock, which others may have set


class Clock(Protocol):
    """Whose interrupts these are: rtc.Clock."""

    name: str
    rate: float
    range_min: datetime.datetime

    def get(self) -> Any: ...
    def notify(self) -> None: ...


class Interrupts:
    """Of one clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = cuse.Condition()  # of all below
        self.alarm, self.alarm_on = clock.range_min, False
        self.frequency = 1  # periods a second
        self._seen = 0  # RTC_IRQF, what has happened, and how often, from bit 8 on
        self._update: datetime.datetime | None = None  # when the next second begins; None: off
        self._period_end: float | None = None  # time.monotonic(); None: off
        self._by_clock = Timer(clock.name, self._look, "get()")
        self._by_period = Timer(clock.name, self._count_periods, "a period")

    async def start(self) -> None:
        await self._by_clock.start()
        await self._by_period.start()

    async def stop(self) -> None:
        await self._by_clock.stop()
        await self._by_period.stop()

    def save(self) -> dict[str, Any]:
        """What outlives a worker, for restore(); JSON can have it."""
        with self._changed:
            return {
                "alarm": self.alarm.isoformat(),
                "alarm_on": self.alarm_on,
                "frequency": self.frequency,
                "seen": self._seen,
                "update": self._update and self._update.isoformat(),
                "period_end": self._period_end,
            }

    def restore(self, kept: dict[str, Any]) -> None:
        update = kept["update"]
        with self._changed:
            self.alarm = datetime.datetime.fromisoformat(kept["alarm"])
            self.alarm_on, self.frequency = kept["alarm_on"], kept["frequency"]
            self._seen = kept["seen"]
            self._update = update and datetime.datetime.fromisoformat(update)
            self._period_end = kept["period_end"]
            self._look_soon()
            self._by_period.set(self._period_end)

    # --- for who reads ----------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Something has happened since the last read."""
        return self._seen != 0

    def take(self, *, wait: bool) -> int:
        """What has happened since. BlockingIOError if that is nothing, and it is not to `wait`."""
        with self._changed:
            if not wait and not self._seen:
                raise BlockingIOError
            self._changed.wait_for(lambda: self._seen)
            seen, self._seen = self._seen, 0
            return seen

    def forget(self) -> None:
        """A new client begins with nothing."""
        with self._changed:
            self._seen = 0

    # --- what is to happen ------------------------------------------------------------------

    def set_alarm(self, moment: datetime.datetime, *, on: bool) -> None:
        """rtc_set_alarm: one that is over goes off at once."""
        with self._changed:
            self.alarm, self.alarm_on = moment, on
            self._look_soon()

    @either
    def turn_updates_on(self) -> Steps:
        """rtc_update_irq_enable: from the next second on."""
        if self._update is None:
            yield self._count_from_now()

    def turn_updates_off(self) -> None:
        with self._changed:
            self._update = None

    @either
    def clock_was_set(self) -> Steps:
        """rtc_set_time: its seconds begin anew, and the alarm may be due."""
        if self._update is not None:
            yield self._count_from_now()
        with self._changed:
            self._look_soon()

    @either
    def _count_from_now(self) -> Steps:
        now = uapi.checked((yield self._clock.get()))
        with self._changed:
            self._update = uapi.later(now.replace(microsecond=0), _SECOND)
            self._look_soon()

    def turn_periods(self, *, on: bool) -> None:
        """rtc_irq_set_state: those that run go on as they are."""
        with self._changed:
            if not on:
                self._period_end = None
            elif self._period_end is None:
                self._begin_period()
            self._by_period.set(self._period_end)

    def set_frequency(self, frequency: int) -> None:
        """rtc_irq_set_freq: periods that run begin anew."""
        with self._changed:
            self.frequency = frequency
            if self._period_end is not None:
                self._begin_period()
                self._by_period.set(self._period_end)

    def silence(self) -> None:
        """No more seconds and periods: the client has gone."""
        self.turn_updates_off()
        self.turn_periods(on=False)

    # --- what happens -----------------------------------------------------------------------

    def _begin_period(self) -> None:
        self._period_end = time.monotonic() + 1 / self.frequency

    def _interrupt(self, kind: int, count: int) -> None:
        """rtc_handle_legacy_irq. Under the lock; to notify is the caller's, without it."""
        self._seen = (self._seen + (count << 8)) | uapi.IRQF | kind
        self._changed.notify_all()

    def _look_soon(self) -> None:
        """The clock, the alarm or the next second has been set. Under the lock."""
        is_on = self.alarm_on or self._update is not None
        self._by_clock.set(time.monotonic() if is_on else None)

    @either
    def _look(self) -> Steps:
        """rtc_timer_do_work: what is due by the clock, and when the next thing will be."""
        try:
            now = uapi.checked((yield self._clock.get()))
        except BaseException:
            self._by_clock.set(time.monotonic() + _LOOK_S)
            raise
        with self._changed:
            due: list[datetime.datetime] = []
            if self.alarm_on and now >= self.alarm:
                self.alarm_on = False
                self._interrupt(uapi.AF, 1)
            elif self.alarm_on:
                due.append(self.alarm)
            if self._update is not None:
                if now >= self._update:
                    count = (now - self._update) // _SECOND + 1
                    self._update = uapi.later(self._update, count * _SECOND)
                    self._interrupt(uapi.UF, count)
                due.append(self._update)
            if due:
                self._by_clock.set(time.monotonic() + self._until(min(due) - now))
        self._clock.notify()

    def _until(self, left: datetime.timedelta) -> float:
        """Seconds of ours until the next look, where `left` of the clock's are. (None at all is at
        the end of all time: see later().)"""
        if left > _NOTHING and self._clock.rate > 0:
            return min(_LOOK_S, left.total_seconds() / self._clock.rate)
        return _LOOK_S

    def _count_periods(self) -> None:
        """rtc_pie_update_irq: all periods that have ended, for the thread may have come late."""
        with self._changed:
            if self._period_end is None:
                return
            late = time.monotonic() - self._period_end
            if late >= 0:
                count = int(late * self.frequency) + 1
                self._period_end += count / self.frequency
                self._interrupt(uapi.PF, count)
            self._by_period.set(self._period_end)
        self._clock.notify()
