"""A watchdog that runs a command when nobody has pinged it for too long.

sudo .venv/bin/python examples/watchdog.py --name watchdog9 --heartbeat 10 --command "logger bark"
"""

import subprocess

from cuse_scullv import cuse
from cuse_scullv.classes import watchdog


class Dog(watchdog.Watchdog):
    identity = "runs a command"

    def __init__(self, name: str, command: str, heartbeat: int) -> None:
        super().__init__(name, heartbeat=heartbeat)
        self.command = command

    def expired(self) -> None:
        subprocess.run(self.command, shell=True, check=True)


if __name__ == "__main__":
    parser = cuse.arguments(__doc__, "watchdog9")
    parser.add_argument("--heartbeat", type=int, default=60, help="seconds between two pings")
    parser.add_argument("--command", default="echo nobody pings", help="for the shell")
    asked = parser.parse_args()
    cuse.serve(Dog(asked.name, asked.command, asked.heartbeat), daemon=asked.daemon)
