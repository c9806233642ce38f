"""What clients of a watchdog see: include/uapi/linux/watchdog.h."""

from __future__ import annotations

import ctypes
import enum

from cuse_scullv import cuse

IDENTITY_MAX = 31
"""Bytes of an identity: the 32nd ends it."""
DISABLECARD, ENABLECARD = 1, 2
"""WDIOS_*: what WDIOC_SETOPTIONS is asked to do."""


class Option(enum.IntFlag):
    """WDIOF_*: what a watchdog can do, what its status is, and why the machine was reset."""

    OVERHEAT = 0x0001
    FANFAULT = 0x0002
    EXTERN1 = 0x0004
    EXTERN2 = 0x0008
    POWERUNDER = 0x0010
    CARDRESET = 0x0020
    POWEROVER = 0x0040
    SETTIMEOUT = 0x0080
    MAGICCLOSE = 0x0100
    PRETIMEOUT = 0x0200
    ALARMONLY = 0x0400
    KEEPALIVEPING = 0x8000


REASONS = Option(0x7F)
"""Those that say why the machine was reset: OVERHEAT to POWEROVER."""


class Info(ctypes.Structure):
    """struct watchdog_info."""

    _fields_ = [
        ("options", ctypes.c_uint32),
        ("firmware_version", ctypes.c_uint32),
        ("identity", ctypes.c_char * 32),
    ]


GETSUPPORT = cuse.IOR("W", 0, Info)
GETSTATUS = cuse.IOR("W", 1, ctypes.c_int)
GETBOOTSTATUS = cuse.IOR("W", 2, ctypes.c_int)
GETTEMP = cuse.IOR("W", 3, ctypes.c_int)
SETOPTIONS = cuse.IOR("W", 4, ctypes.c_int)  # though the client writes
KEEPALIVE = cuse.IOR("W", 5, ctypes.c_int)  # though nothing is read
SETTIMEOUT = cuse.IOWR("W", 6, ctypes.c_int)
GETTIMEOUT = cuse.IOR("W", 7, ctypes.c_int)
SETPRETIMEOUT = cuse.IOWR("W", 8, ctypes.c_int)
GETPRETIMEOUT = cuse.IOR("W", 9, ctypes.c_int)
GETTIMELEFT = cuse.IOR("W", 10, ctypes.c_int)
