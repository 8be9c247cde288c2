"""The SDK's Sink, thin: it holds a stream's plan; the SDK's settings work before the plan does."""

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
    """One stream after stream maps. It has no batch: objects go to the target's delivery."""

    def __init__(
        self,
        target: Target,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        # The SDK copies a schema and keeps both, of each stream: it is given none but its metadata,
        # which it adds to `properties`, where a lenient schema may have none.
        super().__init__(target, stream_name, {"properties": {}}, key_properties)
        planned = schema
        if self.schema["properties"]:
            if not isinstance(schema.get("properties"), Mapping):  # by a reference, or by branches
                read_columns(schema, stream=stream_name, has_keys=bool(key_properties))
                schema = resolved_schema(schema, stream=stream_name)
            columns = {**schema["properties"], **self.schema["properties"]}
            planned = {**schema, "properties": columns}
        settings: Settings = target.settings  # type: ignore[attr-defined]  # it is our own target
        options = settings.plan_options
        self.plan: StreamPlan = compile_plan(stream_name, planned, key_properties, options)
        self._schema_validator: jsonschema_rs.Validator | None = None
        self.is_surely_valid: Callable[[msgspec.Raw], bool] | None = None

    def validate_by(self, schema: dict[str, Any], stream: str) -> None:
        """Check every record, as the tap wrote it, against the whole schema of the tap's stream.

        Raises:
            SchemaError: when that is no valid JSON Schema.
        """
        self._schema_validator = _validator(schema, stream)
        self.is_surely_valid = _fast_validator(self._schema_validator, schema)

    def get_validator(self) -> None:
        """None of the SDK's: `validate_records` is looked after here, by a compiled validator."""

    def _remove_sdc_metadata_from_schema(self) -> None:
        """Not here: what the tap wrote is sent; to leave it out is for `stream_maps` to say."""

    def validate_and_encode(self, raw: bytes) -> EncodedRecord:
        """The object of a record as the tap wrote it.

        Raises:
            RejectedRecordError: with every fault of the record.
        """
        if self._schema_validator is not None:
            self._validate(self._schema_validator, raw)
        return self.plan.encode_json(raw)

    def encode_mapped(
        self, record: dict[str, Any], raw: bytes, message: dict[str, Any]
    ) -> EncodedRecord:
        """The object of a record that went through stream maps.

        Args:
            record: what the maps made.
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
        """Never called: the target hands objects to the delivery itself."""
        raise NotImplementedError

    def process_batch(self, context: dict[str, Any]) -> None:
        """Never called: there is no batch."""
        raise NotImplementedError


def _fast_validator(
    validator: jsonschema_rs.Validator, schema: Mapping[str, Any]
) -> Callable[[msgspec.Raw], bool]:
    """Says of a record whether it is valid for sure.

    Numbers are doubles here, which no keyword minds but `multipleOf`.
    """
    if b'"multipleOf"' in msgspec.json.encode(schema):
        return lambda _: False
    parse, is_valid = msgspec.json.Decoder().decode, validator.is_valid
    return lambda raw: is_valid(parse(raw))


def _retrieve_nothing(uri: str) -> Any:
    """A tap's schema does not make this machine ask others."""
    raise LookupError(uri)


def _validator(schema: dict[str, Any], stream: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(schema, retriever=_retrieve_nothing)
    except ValueError as error:
        where = "/".join(map(str, getattr(error, "instance_path", ())))
        raise SchemaError(
            f"the SCHEMA of stream {stream!r} is no valid JSON Schema at {where or 'its top'}, so "
            "that `validate_records` cannot check records by it; turn `validate_records` off, or "
            "correct the tap's schema"
        ) from None
