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
from target_segment_objects.singer.sdk_values import to_sdk_values, without_tokens

if TYPE_CHECKING:
    from singer_sdk import Target

    from target_segment_objects.plan import EncodedRecord
    from target_segment_objects.settings import Settings

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
        planned = schema
        if self.schema["properties"]:
            if not isinstance(
                schema.get("properties"), Mapping
            ):  # they are in a reference or in branches
                read_columns(schema, stream=stream_name, has_keys=bool(key_properties))
                schema = resolved_schema(schema, stream=stream_name)
            columns = {**schema["properties"], **self.schema["properties"]}
            planned = {**schema, "properties": columns}
        settings: Settings = target.settings  # type: ignore[attr-defined]  # of our own class
        options = settings.plan_options
        self.plan: StreamPlan = compile_plan(stream_name, planned, key_properties, options)
        self._schema_validator: jsonschema_rs.Validator | None = None
        self.is_surely_valid: Callable[[msgspec.Raw], bool] | None = None

    def validate_by(self, schema: dict[str, Any], stream: str) -> None:
        """Validate every record, as the tap wrote it, against the whole schema of the tap's stream.

        Raises:
            SchemaError: it is not a valid JSON Schema.
        """
        self._schema_validator = _validator(schema, stream)
        self.is_surely_valid = _fast_validator(self._schema_validator, schema)

    def get_validator(self) -> None:
        """Return none: a compiled validator of our own implements `validate_records`."""

    def _remove_sdc_metadata_from_schema(self) -> None:
        """Remove nothing: what the tap wrote is sent, unless `stream_maps` removes it."""

    def validate_and_encode(self, raw: bytes) -> EncodedRecord:
        """Return the object of a record as the tap wrote it.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        if self._schema_validator is not None:
            self._validate(self._schema_validator, raw)
        return self.plan.encode_json(raw)

    def encode_mapped(
        self, record: dict[str, Any], raw: bytes, message: dict[str, Any]
    ) -> EncodedRecord:
        """Return the object of a record after stream maps.

        Args:
            record: the mapped record.
            raw: the record as the tap wrote it.
            message: the message's `time_extracted` and `version`, for the SDK's metadata.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        if self.include_sdc_metadata_properties:
            self._add_sdc_metadata_to_record(record, message, {})
        if self._schema_validator is not None:
            self._validate(self._schema_validator, raw)
        return self.plan.encode(record, original=raw)

    def _validate(self, validator: jsonschema_rs.Validator, raw: bytes) -> None:
        value = without_tokens(to_sdk_values(parse_record(raw)))
        faults = [
            Fault(tuple(map(str, error.instance_path)), FaultCode.SCHEMA)
            for error in validator.iter_errors(value)
        ]
        if faults:
            raise RejectedRecordError(list(dict.fromkeys(faults)))

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Never called: the target hands objects to its run."""
        raise NotImplementedError

    def process_batch(self, context: dict[str, Any]) -> None:
        """Never called: there is no batch."""
        raise NotImplementedError


def _fast_validator(
    validator: jsonschema_rs.Validator, schema: Mapping[str, Any]
) -> Callable[[msgspec.Raw], bool]:
    """Return a function that says whether a record is surely valid.

    It decodes numbers as doubles, which makes a difference only for `multipleOf`.
    """
    if b'"multipleOf"' in msgspec.json.encode(schema):
        return lambda _: False
    parse, is_valid = msgspec.json.Decoder().decode, validator.is_valid
    return lambda raw: is_valid(parse(raw))


def _retrieve_nothing(uri: str) -> Any:
    """Follow no reference to another machine."""
    raise LookupError(uri)


def _validator(schema: dict[str, Any], stream: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(schema, retriever=_retrieve_nothing)
    except ValueError as error:
        where = "/".join(map(str, getattr(error, "instance_path", ())))
        raise SchemaError(
            f"the SCHEMA of stream {stream!r} is not a valid JSON Schema at {where or 'its top'}, "
            "so `validate_records` cannot check records against it; turn `validate_records` off, "
            "or correct the tap's schema"
        ) from None
