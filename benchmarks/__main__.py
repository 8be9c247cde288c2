"""Runs the measurements, each in its own process; prints tables and writes the figures as JSON.

python -m benchmarks                        # all, into build/benchmarks.json
python -m benchmarks --short                # those with a short form, in a minute
python -m benchmarks --full                 # all, and 5,000,000 rows
python -m benchmarks startup load           # some, with no file unless --output names one
python -m benchmarks load --scale 0.1       # one, with options of its own
python -m benchmarks compare OLD.json NEW.json
python -m benchmarks report FILE.json       # into docs/benchmarks.md; --print: to stdout
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import report

_HERE = Path(__file__).parent
_FIRST = ("throughput", "growth", "startup")
_FULL = ("growth",)
_OUTPUT = Path("build/benchmarks.json")


def main() -> int:
    """Measure, compare or report."""
    words = sys.argv[1:]
    if words[:1] == ["compare"]:
        return _compare(words[1:])
    if words[:1] == ["report"]:
        return _report(words[1:])
    return _measure(words)


def _names() -> list[str]:
    """Return the measurements: first those that are compared, then all others."""
    others = sorted(
        path.stem
        for path in _HERE.glob("*.py")
        if not path.stem.startswith("_")
        and path.stem not in _FIRST
        and "\ndef main(" in path.read_text(encoding="utf-8")
    )
    return [*_FIRST, *others]


def _measure(words: list[str]) -> int:
    names = _names()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="NAME")
    parser.add_argument("--short", action="store_true", help=f"only {', '.join(_FIRST)}, small")
    parser.add_argument("--full", action="store_true", help="with 5,000,000 rows")
    parser.add_argument(
        "--output", type=Path, help=f"file of the figures; default for all: {_OUTPUT}"
    )
    options, more = parser.parse_known_args(words)
    if more and len(options.names) != 1:
        parser.error(f"{' '.join(more)}: name the one measurement that this is for")
    wanted = options.names or (_FIRST if options.short else names)
    results: dict[str, Any] = {"about": report.about(), "measurements": {}}
    failed = 0
    for name in wanted:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *more]
        if options.short and name in _FIRST:
            command.append("--short")
        if options.full and name in _FULL:
            command.append("--full")
        ended = subprocess.run(command, cwd=_HERE.parent, stdout=subprocess.PIPE, check=False)
        if ended.returncode:
            print(f"{name} ended with {ended.returncode}", file=sys.stderr)
            failed = 1
        if ended.stdout.strip():
            measured = json.loads(ended.stdout)
            results["measurements"][name] = measured
            print(f"\n# {name}\n\n{report.render(name, measured)}", flush=True)
    output = options.output or (None if options.names else _OUTPUT)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    return failed


def _compare(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--least", type=float, default=0.05, help="smallest relative change to print"
    )
    options = parser.parse_args(words)
    print(report.compare(report.read(options.old), report.read(options.new), options.least))
    return 0


def _report(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks report")
    parser.add_argument("results", type=Path)
    parser.add_argument("--print", action="store_true", dest="printed", help="print to stdout only")
    options = parser.parse_args(words)
    results = report.read(options.results)
    if options.printed:
        print(report.render_all(results))
    else:
        report.write_page(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
