"""The expressions of stream maps: checked once, and their errors on a record explained.

Invariant: an expression that fails on a record is that record's fault, unless it is wrong for any
record. The text of its error may hold a value of the record, and is never shown.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.exceptions import MapExpressionError

from target_segment_objects.errors import ConfigurationError, RejectedRecordError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.singer.sdk_values import is_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from singer_sdk.mapper import CustomStreamMap

    Record = dict[str, Any]
    Transform = Callable[[Record], Record | None]

__all__ = ["REMOVE", "check_expressions", "compile_transform", "is_property"]

REMOVE: Final = (None, "__NULL__")
"""Values in a map that remove a property or a stream, or, as `__else__`, everything not named."""
_FILTER: Final = "__filter__"
_MAX_SHOWN: Final = 60
_RESERVED: Final = frozenset(
    {"_", "record", "self", "config", "fake", "None", "True", "False"}
    | {"__stream_name__", "__original_stream_name__"}
    | {"md5", "sha256", "datetime", "bool", "json", "int", "float", "str", "rand", "randint"}
)
"""Names that are not properties in an expression."""


def is_property(expression: str) -> bool:
    """Whether an expression is just the name of a property."""
    return expression.isidentifier() and expression not in _RESERVED


def check_expressions(name: str, definition: object) -> None:
    """Check the syntax of the expressions in a map.

    Raises:
        ConfigurationError: one of them is not an expression.
    """
    for target, expression in definition.items() if isinstance(definition, dict) else ():
        is_option = target.startswith("__") and target != _FILTER
        if isinstance(expression, str) and expression not in REMOVE and not is_option:
            try:
                ast.parse(expression.strip(), mode="eval")
            except (SyntaxError, ValueError):
                raise ConfigurationError(
                    f"stream_maps: `{name}.{target}` is not an expression: "
                    f"{expression[:_MAX_SHOWN]!r}"
                ) from None


def compile_transform(stream_map: CustomStreamMap, definition: str, stream: str) -> Transform:
    """Return the function of a map, whose errors are ours.

    Args:
        stream_map: the SDK's map.
        definition: its name in `stream_maps`.
        stream: the tap's stream.

    Returns:
        A function from a record to the mapped one, or to `None` when it is filtered out. It raises
        `RejectedRecordError` or `ConfigurationError`.
    """
    evaluate = stream_map._eval  # noqa: SLF001  the SDK calls it for every expression

    def checked(*, record: Record, property_name: str | None, **expression: Any) -> Any:
        try:
            value = evaluate(record=record, property_name=property_name, **expression)
        except Exception as error:  # noqa: BLE001  the user's expression may raise anything
            name = _FILTER if property_name is None else property_name
            raise _failure(error, definition, name, stream) from None
        if property_name is not None and not is_value(value):
            raise _rejected(definition, property_name, "no value", type(value).__name__)
        return value

    stream_map._eval = checked  # type: ignore[assignment,method-assign]  # noqa: SLF001
    return stream_map._transform_fn  # noqa: SLF001  `transform` returns `None` for an empty record


def _failure(
    error: Exception, definition: str, name: str, stream: str
) -> ConfigurationError | RejectedRecordError:
    cause = error.__cause__ if isinstance(error, MapExpressionError) else error
    kind = type(cause).__name__  # a class of simpleeval, which the SDK uses
    missing = getattr(cause, "name", None) if kind == "NameNotDefined" else None
    reason = ""
    if kind == "FunctionNotDefined":
        reason = (
            f"there is no function {getattr(cause, 'func_name', '')!r}; there are `md5`, `sha256`, "
            "`float`, `int`, `str` and `bool`, and the methods of values, like `name.upper()`"
        )
    elif kind == "FeatureNotAvailable":
        reason = "it uses what stream maps do not have"
    elif missing == "fake":
        reason = (
            "`fake` needs the package `faker`, which is not installed; install it beside the "
            "target, and set it up with `faker_config`"
        )
    if reason:
        return ConfigurationError(
            f"stream_maps, for stream {stream!r}: the expression `{definition}.{name}` is wrong: "
            f"{reason}"
        )
    if missing is not None:
        return _rejected(definition, name, "missing", missing)
    return _rejected(definition, name, "error", kind)


def _rejected(definition: str, name: str, case: str, detail: str) -> RejectedRecordError:
    details = (f"{definition}.{name}", detail)
    return RejectedRecordError([Fault((name,), FaultCode.EXPRESSION, case, details)])
