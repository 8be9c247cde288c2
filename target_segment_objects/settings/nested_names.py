"""Names with dots, which Meltano splits into nested objects when it reads them from a variable.

Invariant: names are joined again only where the result is unambiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.settings.kinds import WrongValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["flattened_names", "joined_collections", "joined_stream_maps"]


def flattened_names(
    value: Mapping[str, object], parents: tuple[str, ...] = ()
) -> dict[str, object]:
    """Every value that is not an object, by its path with dots, as Meltano exports a setting."""
    flat: dict[str, object] = {}
    for name, part in value.items():
        names = (*parents, name)
        if isinstance(part, dict):
            flat |= flattened_names(part, names)
        else:
            flat[".".join(names)] = part
    return flat


def joined_collections(value: Mapping[str, object]) -> dict[str, object]:
    """Turn `{"public": {"users": "people"}}` into `{"public.users": "people"}`, to any depth.

    Raises:
        WrongValueError: a name occurs twice, with two collections.
    """
    joined: dict[str, object] = {}
    for name, part in value.items():
        inner = joined_collections(part) if isinstance(part, dict) and part else {"": part}
        for rest, collection in inner.items():
            _add(joined, f"{name}.{rest}" if rest else name, collection)
    return joined


def joined_stream_maps(value: Mapping[str, object]) -> dict[str, object]:
    """Turn `{"public": {"users": {"name": "…"}}}` into `{"public.users": {"name": "…"}}`.

    Raises:
        WrongValueError: a name occurs twice, or an object contains both properties and
            streams: `users` could also be a part of a property's name.
    """
    joined: dict[str, object] = {}
    for name, part in value.items():
        # A name that still has its dot was not split: an object nested in it is a mistake.
        nested = isinstance(part, dict) and any(isinstance(inner, dict) for inner in part.values())
        if not isinstance(part, dict) or not nested or "." in name:
            _add(joined, name, part)
            continue
        properties = {key for key, value in part.items() if not isinstance(value, dict)}
        if properties:
            raise _ambiguous(
                f"`{name}.{next(iter(part.keys() - properties))}` may be a stream or a property; "
                "write `?` for the dot in the name of a stream"
            )
        for rest, definition in joined_stream_maps(part).items():
            _add(joined, f"{name}.{rest}", definition)
    return joined


def _add(joined: dict[str, object], name: str, value: object) -> None:
    if name in joined and joined[name] != value:
        raise _ambiguous(f"`{name}` occurs twice")
    joined[name] = value


def _ambiguous(detail: str) -> WrongValueError:
    return WrongValueError(
        f"has names with dots that Meltano has split, and joining them is ambiguous: {detail}"
    )
