"""Starts a command, waits for it, and reports what it used; runs as a script without `site`.

    python -I -S launch.py DESCRIPTOR COMMAND…

A process's peak memory includes that of its parent at the fork. So the parent must be smaller than
the command that is measured, which the benchmarks are not.
"""

import os
import sys
import time


def _launch(descriptor: int, command: list[str]) -> None:
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    # Kilobytes on Linux, bytes on macOS.
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    code = os.waitstatus_to_exitcode(status)
    line = f"{code} {seconds} {usage.ru_utime + usage.ru_stime} {peak}"
    os.write(descriptor, line.encode())


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
