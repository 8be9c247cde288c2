"""`python -m benchmarks`: each measurement after the other, in its short form.

python -m benchmarks                 # all of them
python -m benchmarks memory emulator # some of them
python -m benchmarks --json          # a JSON object for each, by its name
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> int:
    """Run the measurements that are asked for, each in a process of its own."""
    names = sorted(
        path.stem
        for path in _HERE.glob("*.py")
        if not path.stem.startswith("_") and "def main(" in path.read_text(encoding="utf-8")
    )
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", choices=[*names, []], help="default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    failed = 0
    for name in options.names or names:
        print(f"# {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if options.json:
            command.append("--json")
        failed |= subprocess.run(command, cwd=_HERE.parent, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
