"""The law that stream maps, flattening and metadata change what they should, and nothing else.

Records go through the target's own routes; what must become of them is said by the reference.
"""

from __future__ import annotations

import json
import keyword
from typing import TYPE_CHECKING, Any

from hypothesis import assume, event, given, note
from hypothesis import strategies as st

from target_segment_objects.errors import (
    ConfigurationError,
    RejectedRecordError,
    SchemaError,
)
from target_segment_objects.singer.target import TargetSegmentObjects
from target_segment_objects.source import SourceRecord, SourceStream
from tests.plan.test_plan_laws import law
from tests.reference import (
    METADATA,
    ExpectedObject,
    Rejected,
    encoded,
    has_properties,
    mapped,
    properties_of,
    read,
    resolve,
    transform_value,
    with_metadata,
)
from tests.strategies import keys, options, property_names, records, schemas

if TYPE_CHECKING:
    from target_segment_objects.plan import PlanOptions

KEPT = "maps-law-key"
OPTIONS = (
    "collections",
    "pluralize",
    "allow_collection_digits",
    "nested",
    "nulls",
    "non_finite_numbers",
    "oversized_values",
    "type_mismatches",
    "long_ids",
)


def configured(chosen: PlanOptions) -> dict[str, Any]:
    """The options as settings."""
    config = {name: getattr(chosen, name) for name in OPTIONS}
    if chosen.flattening is not None:
        config["flattening_enabled"] = True
        config["flattening_max_depth"] = chosen.flattening.max_depth
        config["flattening_max_key_length"] = chosen.flattening.max_key_length
        config["flattening_separator"] = chosen.flattening.separator
    return {"write_key": KEPT, **config}


def is_bare(name: str) -> bool:
    """Whether an expression may be this name."""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


@st.composite
def definitions(draw: st.DrawFn, names: list[str], own_keys: list[str]) -> dict[str, Any]:
    """A stream map; sometimes one that removes a key."""
    bare = [name for name in names if is_bare(name)]
    expressions = st.sampled_from([*bare, *bare, "'é'", "float(2)"])
    targets = st.sampled_from([*names, "added", "more"]) if names else st.just("added")
    definition: dict[str, Any] = draw(st.dictionaries(targets, st.none() | expressions, max_size=3))
    if draw(st.sampled_from(range(10))):
        for key in own_keys:
            if key in definition and definition[key] is None:
                del definition[key]
    if draw(st.sampled_from(range(4))) == 0:
        definition["__else__"] = None
    if draw(st.sampled_from(range(8))) == 0:
        definition["__filter__"] = draw(st.sampled_from(["True", "False"]))
    if draw(st.sampled_from(range(5))) == 0:
        chosen = st.lists(
            st.sampled_from(names) if names else property_names, max_size=2, unique=True
        )
        definition["__key_properties__"] = draw(st.none() | chosen)
    return definition


def removes_a_key(definition: dict[str, Any], own_keys: list[str]) -> bool:
    """Whether a map is wrong: it removes a key of the tap's or of its own."""
    chosen = definition.get("__key_properties__", own_keys) or []
    return any(name in definition and definition[name] is None for name in chosen)


@law
@given(st.data())
def test_maps_metadata_and_flattening_keep_the_rules(data: st.DataObject) -> None:
    """What no map changes is as documented, at any depth, with and without metadata."""
    schema = data.draw(schemas())
    own_keys = data.draw(keys(schema))
    assume(not any(key in METADATA for key in own_keys))  # the SDK writes the run's times there
    chosen = data.draw(
        options().filter(lambda drawn: drawn.flattening is None or drawn.flattening.separator)
    )
    names = list(properties_of(resolve(schema, schema)))
    definition = data.draw(st.none() | definitions(names, own_keys))
    metadata = data.draw(st.booleans())
    raws = data.draw(st.lists(records(schema), min_size=1, max_size=3))
    note(f"maps {definition!r}")
    config = {**configured(chosen), "add_record_metadata": metadata}
    if definition is not None:
        config["stream_maps"] = {"rooms": definition}
    target = TargetSegmentObjects(config=config)
    source = SourceStream("rooms", json.dumps(schema).encode(), own_keys)
    try:
        target._routes.update(source, 1)
    except ConfigurationError as error:
        note(str(error))
        assert definition is not None
        assert removes_a_key(definition, own_keys)
        event("wrong map")
        return
    except SchemaError as error:
        note(str(error))
        assert expected(definition, schema, own_keys, chosen, b"{}", metadata=metadata) == "schema"
        event("schema")
        return
    planned = target._routes.for_stream("rooms")
    assert planned is not None
    (route,) = planned.routes
    for line, raw in enumerate(raws, 2):
        note(f"record {raw[:2000]!r}")
        try:
            encoded = route.map_and_encode(SourceRecord(source, raw, line))
        except RejectedRecordError as error:
            became: Any = {(fault.path, fault.code) for fault in error.faults}
        else:
            became = encoded and without_metadata(encoded.object.id, encoded.object.properties)
        should = expected(definition, schema, own_keys, chosen, raw, metadata=metadata)
        assert became == should
        event(type(should).__name__)


def expected(  # noqa: PLR0913  drawn
    definition: dict[str, Any] | None,
    schema: dict[str, Any],
    own_keys: list[str],
    chosen: PlanOptions,
    raw: bytes,
    *,
    metadata: bool,
) -> Any:
    """The reference's result for a record: an object, faults, nothing, or a wrong schema."""
    original = read(raw)
    assert isinstance(original, dict)
    value: Any = original
    listed = has_properties(resolve(schema, schema))
    if definition is not None:
        schema, own_keys, value = mapped(definition, schema, own_keys, original)
    if not (listed or own_keys or schema.get("properties")):
        return "schema"
    record = value if isinstance(value, dict) else {}
    if metadata:
        schema, record = with_metadata(resolve(schema, schema), record)
    try:
        row = transform_value("rooms", schema, own_keys, chosen, record, original)
    except SchemaError:
        return "schema"
    if value is None:
        return None
    if isinstance(value, Rejected):
        return set(value.faults)
    if isinstance(row, ExpectedObject):
        return without_metadata(row.id, encoded(row.properties))
    return set(row.faults)


def without_metadata(identity: str, properties: bytes) -> tuple[str, list[str]]:
    """An object with its exact properties, without the times of this run."""
    text = properties.decode()
    shown = json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)
    return identity, [repr(pair) for pair in shown if not pair[0].startswith("sdc_")]
