"""Names with dots, which Meltano splits into nested objects when they come by way of a variable.

The rule that it guards: names are joined again only where nothing else can be meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AmbiguousNamesError",
    "flattened_names",
    "joined_collections",
    "joined_stream_maps",
]


class AmbiguousNamesError(ValueError):
    """Nested names that can be joined in more than one way, or twice; the text says which."""


def flattened_names(
    value: Mapping[str, object], parents: tuple[str, ...] = ()
) -> dict[str, object]:
    """Each value that is no object, by its names joined with dots, as Meltano exports a setting."""
    found: dict[str, object] = {}
    for name, part in value.items():
        names = (*parents, name)
        if isinstance(part, dict):
            found |= flattened_names(part, names)
        else:
            found[".".join(names)] = part
    return found


def joined_collections(value: Mapping[str, object]) -> dict[str, object]:
    """`{"public": {"users": "people"}}` is `{"public.users": "people"}`, to any depth.

    Raises:
        AmbiguousNamesError: when a name is there twice, with two collections.
    """
    joined: dict[str, object] = {}
    for name, part in value.items():
        inner = joined_collections(part) if isinstance(part, dict) and part else {"": part}
        for rest, collection in inner.items():
            _add(joined, f"{name}.{rest}" if rest else name, collection)
    return joined


def joined_stream_maps(value: Mapping[str, object]) -> dict[str, object]:
    """`{"public": {"users": {"name": "…"}}}` is `{"public.users": {"name": "…"}}`, to any depth.

    Raises:
        AmbiguousNamesError: when a name is there twice, or an object has both properties and
            streams in it: `users` may be a part of a property's name as well.
    """
    joined: dict[str, object] = {}
    for name, part in value.items():
        # A name that has its dot was not split: what is nested in it is a mistake.
        nested = isinstance(part, dict) and any(isinstance(each, dict) for each in part.values())
        if not isinstance(part, dict) or not nested or "." in name:
            _add(joined, name, part)
            continue
        inner = joined_stream_maps(part)
        mixed = [key for key, each in part.items() if not isinstance(each, dict)]
        if mixed:
            raise AmbiguousNamesError(
                f"`{name}.{next(iter(part.keys() - set(mixed)))}` may be a stream or a property; "
                "write `?` for the dot in the name of a stream"
            )
        for rest, definition in inner.items():
            _add(joined, f"{name}.{rest}", definition)
    return joined


def _add(joined: dict[str, object], name: str, value: object) -> None:
    if name in joined and joined[name] != value:
        raise AmbiguousNamesError(f"`{name}` stands there twice")
    joined[name] = value
