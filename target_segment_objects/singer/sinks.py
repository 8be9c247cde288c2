"""The SDK's Sink: it holds a stream's plan, and applies the SDK's settings before the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
from singer_sdk.sinks import Sink

from target_segment_objects.errors import RejectedRecordError, SchemaError
from target_segment_objects.faults import Fault, FaultCode
from target_segment_objects.plan import (
    StreamPlan,
    compile_plan,
    parse_record,
    read_columns,
    resolved_schema,
)
from target_segment_objects.singer.sdk_values import plain_number, to_sdk_values

if TYPE_CHECKING:
    from singer_sdk import Target

    from target_segment_objects.plan import EncodedRecord
    from target_segment_objects.settings import Settings
    from target_segment_objects.source import SourceRecord

__all__ = ["SegmentObjectsSink"]


class SegmentObjectsSink(Sink):
    """One stream after stream maps. It has no batch: the target hands objects to its run."""

    def __init__(
        self,
        target: Target,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        # The SDK would keep two copies of the schema. It gets an empty one, to which it adds its
        # metadata: the `properties` that it needs may be missing in a lenient schema.
        super().__init__(target, stream_name, {"properties": {}}, key_properties)
        if self.schema["properties"]:
            if not isinstance(
                schema.get("properties"), Mapping
            ):  # they are in a reference or in branches
                read_columns(schema, stream=stream_name, has_keys=bool(key_properties))
                schema = resolved_schema(schema, stream=stream_name)
            columns = {**schema["properties"], **self.schema["properties"]}
            schema = {**schema, "properties": columns}
        settings: Settings = target.settings  # type: ignore[attr-defined]  # of our own class
        options = settings.plan_options
        self.plan: StreamPlan = compile_plan(stream_name, schema, key_properties, options)
        self._schema_validator: jsonschema_rs.Validator | None = None
        self.is_surely_valid: Callable[[msgspec.Raw], bool] | None = None

    def validate_by(self, schema: dict[str, Any], stream: str) -> None:
        """Validate every record, as the tap wrote it, against the whole schema of the tap's stream.

        Raises:
            SchemaError: it is not a valid JSON Schema.
        """
        try:
            validator = jsonschema_rs.validator_for(schema, retriever=_retrieve_nothing)
        except ValueError as error:
            where = "/".join(map(str, getattr(error, "instance_path", ())))
            raise SchemaError(
                f"the SCHEMA of stream {stream!r} is not a valid JSON Schema at "
                f"{where or 'its top'}, so `validate_records` cannot check records against it; "
                "turn `validate_records` off, or correct the tap's schema"
            ) from None
        self._schema_validator = validator
        # Numbers are decoded as doubles here, which makes a difference only for `multipleOf`.
        parse, inexact = msgspec.json.decode, b'"multipleOf"' in msgspec.json.encode(schema)
        self.is_surely_valid = lambda raw: not inexact and validator.is_valid(parse(raw))

    def get_validator(self) -> None:
        """Return none: a compiled validator of our own implements `validate_records`."""

    def _remove_sdc_metadata_from_schema(self) -> None:
        """Remove nothing: what the tap wrote is sent, unless `stream_maps` removes it."""

    def encode(self, record: SourceRecord, mapped: dict[str, Any] | None = None) -> EncodedRecord:
        """Return the object of a record.

        Args:
            record: the record as the tap wrote it.
            mapped: what the stream maps made of it; `None` when no code of the SDK changes it.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        if mapped is not None and self.include_sdc_metadata_properties:
            message = {"time_extracted": record.time_extracted, "version": record.version}
            self._add_sdc_metadata_to_record(mapped, message, {})
        raw = record.raw
        if self._schema_validator is not None:
            value = to_sdk_values(parse_record(raw), plain_number)
            errors = self._schema_validator.iter_errors(value)
            faults = [Fault(tuple(map(str, e.instance_path)), FaultCode.SCHEMA) for e in errors]
            if faults:
                raise RejectedRecordError(list(dict.fromkeys(faults)))
        if mapped is None:
            return self.plan.encode_json(raw)
        return self.plan.encode(mapped, original=raw)

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Never called: the target hands objects to its run."""
        raise NotImplementedError

    def process_batch(self, context: dict[str, Any]) -> None:
        """Never called: there is no batch."""
        raise NotImplementedError


def _retrieve_nothing(uri: str) -> Any:
    """Follow no reference to another machine."""
    raise LookupError(uri)
