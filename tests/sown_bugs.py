"""Adds bugs to a copy of the package, one per converter; `test_plan_laws` must detect each.

    python -m tests.sown_bugs

prints a table of Markdown for `docs/testing.md`, and fails when a bug survives. `PLAN_EXAMPLES` is
how many schemas each is tried with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.mutations import AddressError, Mutation, copied, spoiled

EXAMPLES = "6000"


class Bug(NamedTuple):
    """A bug: what is wrong with it, and the code that it replaces."""

    says: str
    where: str
    right: str
    wrong: str

    @property
    def mutation(self) -> Mutation:
        """The change of the source."""
        return Mutation(self.where, self.right, self.wrong)


BUGS = (
    Bug(
        "`as_number` writes integers without `.0`",
        "as_number",
        "return float(value)",
        "return value",
    ),
    Bug(
        "`as_number` sends integers beyond 2^53 through a double",
        "as_number",
        "return double if Decimal(repr(double)) == value else value",
        "return double",
    ),
    Bug(
        "`as_number` rounds long tokens",
        "as_number",
        "math.isfinite(double) and to_decimal(token.decode()) == Decimal(repr(double))",
        "math.isfinite(double)",
    ),
    Bug(
        "`as_integer` drops a fraction",
        "as_integer",
        "number == number.to_integral_value()",
        "True",
    ),
    Bug("`coerce_integer` accepts `042`", "_INTEGER", 'r"0|-?[1-9][0-9]*"', 'r"-?[0-9]+"'),
    Bug(
        "`coerce_number` accepts non-finite numbers",
        "coerce_number",
        "is_finite(token := Raw(value))",
        "(token := Raw(value))",
    ),
    Bug("`coerce_boolean` accepts 2", "coerce_boolean", "number in (0, 1)", "number in (0, 1, 2)"),
    Bug(
        "`coerce_boolean` accepts `True`",
        "coerce_boolean",
        '{"true": True, "false": False}',
        '{"True": True, "false": False}',
    ),
    Bug(
        "`coerce_string` writes booleans as Python does",
        "coerce_string",
        'return "true" if value else "false"',
        "return str(value)",
    ),
    Bug(
        "`as_string` accepts integers",
        "as_string",
        "type(value) is str",
        "type(value) in (str, int)",
    ),
    Bug(
        "`normalize_datetime` does not add a missing offset",
        "normalize_datetime",
        "match['offset'] or 'Z'",
        "match['offset'] or ''",
    ),
    Bug(
        "`normalize_datetime` keeps the blank",
        "normalize_datetime",
        '"T" if match["blank"] == " " else match["blank"]',
        'match["blank"]',
    ),
    Bug(
        "`is_finite` accepts `1e400`",
        "is_finite",
        "math.isfinite(float(token))",
        "bool(token)",
    ),
    Bug(
        "`without_non_finite` skips arrays",
        "without_non_finite",
        "kind is list",
        "kind is list and False",
    ),
    Bug(
        "`canonical_number` keeps `.0`, so that one key has two ids",
        "canonical_number",
        'f"{number.to_integral_value():f}"',
        "token",
    ),
    Bug(
        "`record_digest` depends on `_sdc_` columns",
        "_without_metadata",
        'not key.startswith("_sdc_")',
        "key",
    ),
    Bug(
        "a null is dropped",
        "Converters._compile",
        'None if options.nulls == "send" else OMIT',
        "OMIT",
    ),
    Bug(
        "truncation is off by one",
        "Converters._check_size",
        "encoded[: value_bytes - 1]",
        "encoded[:value_bytes]",
    ),
    Bug(
        "a value of exactly 32 KB is accepted",
        "Converters._check_size",
        "len(encoded) >= value_bytes",
        "len(encoded) > value_bytes",
    ),
    Bug(
        "`type_mismatches: send` coerces",
        "Converters._matcher_and_coercer",
        "coerce = first_match(values.any_scalar, self._to_json_text)",
        "coerce = coerce",
    ),
    Bug("keys are joined with `_`", "join_key_texts", '":".join', '"_".join'),
    Bug(
        "`:` in a key is not escaped",
        "join_key_texts",
        'text.replace("\\\\", "\\\\\\\\").replace(":", "\\\\:")',
        'text.replace("\\\\", "\\\\\\\\")',
    ),
    Bug(
        "an id of 100 characters is rejected",
        "compile_identifier.identify",
        "len(object_id) <= max_length",
        "len(object_id) < max_length",
    ),
    Bug(
        "an empty key is accepted",
        "_key_text.read",
        'value is None or value == "" or not values.is_finite(value)',
        "value is None or not values.is_finite(value)",
    ),
)


def caught(bug: Bug, folder: Path) -> tuple[bool, str, float]:
    """Tell whether the law detects the bug, after how many examples and seconds."""
    began = time.monotonic()
    try:
        with spoiled(bug.mutation, folder):
            ended = subprocess.run(
                [sys.executable, "-m", "tests.sown_bugs", "--law"],
                cwd=folder,
                env=os.environ | {"PLAN_EXAMPLES": os.environ.get("PLAN_EXAMPLES", EXAMPLES)},
                capture_output=True,
                text=True,
                check=True,
            )
    except AddressError as error:
        return False, str(error), 0.0
    found = re.search(r"failing after (\d+) examples", ended.stdout)
    return found is not None, found[1] if found else "survived", time.monotonic() - began


def law() -> None:
    """Run the law with a fixed seed, without shrinking, and print whether it fails."""
    # Runs only in the copy, and imports the copy's tests and package.
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415
    from hypothesis import strategies as st  # noqa: PLC0415

    from tests.plan import test_plan_laws  # noqa: PLC0415

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
    """Add each bug in turn, and print the results."""
    survivors = 0
    sys.stdout.write("| bug | in | caught after | seconds |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name, "copy"))
        for bug in BUGS:
            found, examples, seconds = caught(bug, folder)
            survivors += not found
            result = f"{examples} examples" if found else f"**{examples}**"
            sys.stdout.write(f"| {bug.says} | `{bug.where}` | {result} | {seconds:.1f} |\n")
            sys.stdout.flush()
    return min(survivors, 1)


if __name__ == "__main__":
    if "--law" in sys.argv:
        law()
    else:
        sys.exit(main())
