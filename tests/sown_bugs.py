"""Sows bugs in a copy of the package, one a converter: the law of `test_plan_laws` must catch each.

    python -m tests.sown_bugs

prints a table of Markdown for `docs/testing.md`, and fails when a bug survives. `PLAN_EXAMPLES` is
how many schemas each is tried with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = "3000"


class Bug(NamedTuple):
    """One bug: what is wrong then, and the text in a file of the package that becomes another."""

    says: str
    file: str
    right: str
    wrong: str


BUGS = (
    Bug("`as_number` drops the float look", "values.py", "return float(value)", "return value"),
    Bug(
        "`as_number` sends integers beyond 2^53 through a double",
        "values.py",
        "return double if Decimal(repr(double)) == value else value",
        "return double",
    ),
    Bug(
        "`as_number` rounds long tokens",
        "values.py",
        "if math.isfinite(double) and exact(token.decode()) == Decimal(repr(double)):",
        "if math.isfinite(double):",
    ),
    Bug(
        "`as_integer` cuts a fraction",
        "values.py",
        "if number == number.to_integral_value():\n            return int(number)",
        "if True:\n            return int(number)",
    ),
    Bug(
        "`coerce_integer` takes `042`",
        "values.py",
        '_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)',
        '_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)',
    ),
    Bug(
        "`coerce_number` takes what is not finite",
        "values.py",
        "and is_finite(token := Raw(value)):",
        "and (token := Raw(value)):",
    ),
    Bug("`coerce_boolean` takes 2", "values.py", "if number in (0, 1)", "if number in (0, 1, 2)"),
    Bug("`coerce_boolean` takes `True`", "values.py", '{"true": True,', '{"True": True,'),
    Bug(
        "`coerce_string` writes booleans as Python does",
        "values.py",
        'return "true" if value else "false"\n    if kind is int or kind is Raw:',
        "return str(value)\n    if kind is int or kind is Raw:",
    ),
    Bug(
        "`as_string` takes integers",
        "values.py",
        "return value if type(value) is str else MISFIT",
        "return value if type(value) in (str, int) else MISFIT",
    ),
    Bug(
        "`normal_date` forgets the missing offset",
        "values.py",
        "{found['offset'] or 'Z'}",
        "{found['offset'] or ''}",
    ),
    Bug(
        "`normal_date` leaves the blank",
        "values.py",
        'blank = "T" if found["blank"] == " " else found["blank"]',
        'blank = found["blank"]',
    ),
    Bug(
        "`is_finite` lets `1e400` through",
        "values.py",
        "or math.isfinite(float(token))",
        "or bool(token)",
    ),
    Bug(
        "`without_non_finite` does not look into arrays",
        "values.py",
        "    if kind is list:\n        return [",
        "    if kind is list and False:\n        return [",
    ),
    Bug(
        "`canonical_number` keeps `.0`, so that one key has two ids",
        "values.py",
        'return f"{number.to_integral_value():f}" if number else "0"',
        'return token if number else "0"',
    ),
    Bug(
        "`record_digest` depends on `_sdc_` columns",
        "values.py",
        'if not key.startswith("_sdc_")',
        "if key",
    ),
    Bug(
        "a null is dropped",
        "columns.py",
        'None if options.nulls == "send" else OMIT',
        "OMIT",
    ),
    Bug(
        "truncation is off by one",
        "columns.py",
        "encoded[: MAX_VALUE_BYTES - 1]",
        "encoded[:MAX_VALUE_BYTES]",
    ),
    Bug(
        "a value of exactly 32 KB is taken",
        "columns.py",
        "if len(encoded) >= MAX_VALUE_BYTES:",
        "if len(encoded) > MAX_VALUE_BYTES:",
    ),
    Bug(
        "`type_mismatches: send` coerces",
        "columns.py",
        "otherwise = _either(values.as_open, text)",
        "otherwise = coerces",
    ),
    Bug("keys are joined with `_`", "ids.py", '":".join(parts)', '"_".join(parts)'),
    Bug(
        "`:` in a key is not escaped",
        "ids.py",
        '.replace(":", "\\\\:")',
        "",
    ),
    Bug(
        "an id of 100 characters is too long",
        "ids.py",
        "if len(told) > MAX_ID_LENGTH:",
        "if len(told) >= MAX_ID_LENGTH:",
    ),
    Bug("an empty key is taken", "ids.py", 'or value == "" or', "or"),
)


def caught(bug: Bug, folder: Path) -> tuple[bool, str, float]:
    """Whether the law fails with the bug in the copy, after how many examples and seconds."""
    file = folder / "target_segment_objects" / bug.file
    right = file.read_text(encoding="utf-8")
    if right.count(bug.right) < 1:
        return False, "its place is not there any more", 0.0
    file.write_text(right.replace(bug.right, bug.wrong, 1), encoding="utf-8")
    began = time.monotonic()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.sown_bugs", "--law"],
            cwd=folder,
            env=os.environ | {"PLAN_EXAMPLES": os.environ.get("PLAN_EXAMPLES", EXAMPLES)},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        file.write_text(right, encoding="utf-8")
    found = re.search(r"failing after (\d+) examples", ended.stdout)
    return found is not None, found[1] if found else "survived", time.monotonic() - began


def law() -> None:
    """Run the law with a fixed seed, without shrinking, and tell when it fails."""
    # In the copy alone, whose `tests` and package these are.
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415
    from hypothesis import strategies as st  # noqa: PLC0415

    from tests import test_plan_laws  # noqa: PLC0415

    test = test_plan_laws.test_the_plan_is_the_reference.hypothesis.inner_test
    tried = 0

    @settings(
        max_examples=test_plan_laws.EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def counted(data: st.DataObject) -> None:
        nonlocal tried
        tried += not failed
        try:
            test(data)
        except BaseException as error:
            if isinstance(error, Exception):
                failed.append(error)
            raise

    failed: list[Exception] = []
    try:
        counted()
    except Exception as error:  # noqa: BLE001  an assertion, or whatever the bug leads to
        sys.stdout.write(f"failing after {tried} examples: {type(error).__name__}\n")
    else:
        sys.stdout.write(f"holds for {tried} examples\n")


def main() -> int:
    """Sow each bug, and tell what became of it."""
    survivors = 0
    sys.stdout.write("| sown | in | caught after | seconds |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("target_segment_objects", "tests"):
            shutil.copytree(
                ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__")
            )
        for bug in BUGS:
            found, examples, seconds = caught(bug, folder)
            survivors += not found
            told = f"{examples} examples" if found else f"**{examples}**"
            sys.stdout.write(f"| {bug.says} | `{bug.file}` | {told} | {seconds:.1f} |\n")
            sys.stdout.flush()
    return min(survivors, 1)


if __name__ == "__main__":
    if "--law" in sys.argv:
        law()
    else:
        sys.exit(main())
