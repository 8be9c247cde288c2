"""Every setting, declared once: name, type, default, allowed values and description.

The JSON schema for `--about`, the checks, the reading of the environment (`sources`) and
`docs/settings.md` all use the fields of `Settings`. An error names the wrong setting and says what
is allowed; it never repeats the value, which may be a secret.
"""
# ruff: noqa: RUF009 - each of these calls makes a dataclass field, shared by nobody

from __future__ import annotations

import logging
import os
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from singer_sdk.helpers.capabilities import STREAM_MAPS_CONFIG

from target_segment_objects.client import (
    BULK_URLS,
    OBJECTS_URLS,
    RetryPolicy,
    TransportOptions,
    base_address,
    has_certificates,
    proxy_address,
    validate_write_key,
)
from target_segment_objects.delivery import BulkLimits
from target_segment_objects.errors import ConfigurationError
from target_segment_objects.input import ReaderOptions
from target_segment_objects.objects import API_LIMITS
from target_segment_objects.plan import Flattening, PlanOptions
from target_segment_objects.settings.kinds import (
    Kind,
    WrongValueError,
    boolean,
    choice,
    file_path,
    integer,
    integer_or_word,
    json_object,
    number,
    text,
)
from target_segment_objects.settings.nested_names import joined_collections, joined_stream_maps
from target_segment_objects.settings.rules import (
    no_effect_warnings,
    unknown_setting_warning,
    violations,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from _typeshed import DataclassInstance

    from target_segment_objects.delivery import Level

__all__ = ["DECLARED", "Declaration", "Settings", "check", "config_jsonschema"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D")
OptionsT = TypeVar("OptionsT", bound="DataclassInstance")

_YEAR = 31_536_000  # seconds; beyond some centuries, waiting overflows
_NO_LIMIT = 2**63 - 1


def _without_bare_null(schema: object) -> Any:
    """The SDK's schema without the bare `"null"` in its alternatives, which is not a schema."""
    if isinstance(schema, dict):
        return {
            name: [_without_bare_null(branch) for branch in part if branch != "null"]
            if name in {"anyOf", "oneOf"}
            else _without_bare_null(part)
            for name, part in schema.items()
        }
    return schema


_SDK_SCHEMAS: Mapping[str, Mapping[str, object]] = _without_bare_null(
    STREAM_MAPS_CONFIG["properties"]
)
_SDK_SETTINGS = (
    "stream_maps",
    "stream_map_config",
    "faker_config",
    "add_record_metadata",
    "validate_records",
)


_NEW_OR_EXISTING_FILE = file_path(
    "the path of a file in an existing folder",
    lambda path: path.parent.is_dir() and not path.is_dir(),
)


@dataclass(frozen=True)
class Declaration:
    """One setting.

    Attributes:
        kind: which values are allowed.
        default: its value when it is not set; `None` for no value, or for the default that the
            description gives.
        description: its documentation for users.
    """

    kind: Kind[Any]
    default: object
    description: str


def _declare(kind: Kind[T], default: D, description: str) -> T | D:
    """A field of `Settings` that carries its declaration."""
    declared: object = field(
        default_factory=lambda: deepcopy(default),
        repr=kind.in_repr and not kind.secret,
        metadata={"declaration": Declaration(kind, default, description)},
    )
    return cast("T | D", declared)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The validated settings. Its repr has no secrets."""

    write_key: str | None = _declare(
        text("the write key of a Segment source", validate_write_key, secret=True),
        None,
        "Write key of the Segment source that receives the objects. Required, unless "
        "`local_warehouse` is set.",
    )
    method: Literal["bulk", "set"] = _declare(
        choice("bulk", "set"),
        "bulk",
        "API that objects are sent with. `bulk`: one session of gzip-compressed parts for each "
        "sync; choose it for syncs on a schedule. `set`: calls of up to 10 objects; choose it for "
        "a tap that runs continuously.",
    )
    region: Literal["oregon", "dublin"] = _declare(
        choice("oregon", "dublin"),
        "oregon",
        "Region of the Segment workspace. `dublin` with `method: bulk` also needs `bulk_url`, "
        "since Segment documents no bulk address for it.",
    )
    objects_url: str | None = _declare(
        text("the base address of the Objects API", base_address),
        None,
        "Base address of the Objects API (`method: set`), without the version path. Defaults to "
        "`https://objects.segment.com`, or to `https://objects.euw1.segment.com` with `region: "
        "dublin`. Set it to send to an emulator.",
    )
    bulk_url: str | None = _declare(
        text("the base address of the Objects Bulk API", base_address),
        None,
        "Base address of the Objects Bulk API (`method: bulk`), without the version path. "
        "Defaults to `https://objects-bulk-api.segmentapis.com`; there is no default with "
        "`region: dublin`. Set it to send to an emulator.",
    )
    allow_http: bool = _declare(
        boolean(),
        False,
        "Allow plain http to other machines, for example to an emulator in another container. The "
        "write key is then sent unencrypted.",
    )
    ca_bundle: Path | None = _declare(
        file_path("a file of certificates in PEM form, or a folder", has_certificates),
        None,
        "File (PEM) or folder of the certificate authorities to trust. Defaults to the "
        "environment variables `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE`, then to the usual ones. "
        "Set it behind a proxy that re-encrypts traffic.",
    )
    proxy: str | None = _declare(
        text("the URL of a proxy", proxy_address, secret=True),
        None,
        "URL of the proxy to use; it may contain a user and a password. Defaults to the "
        "environment variables `HTTPS_PROXY` and `NO_PROXY`. Connections to this machine never "
        "use a proxy.",
    )
    local_warehouse: Path | None = _declare(
        _NEW_OR_EXISTING_FILE,
        None,
        "Path of a DuckDB file, created if it does not exist. The built-in emulator of Segment "
        "loads the objects into this file, and nothing is sent to Segment (`write_key` is "
        "ignored), but state still advances. Use it to try out a sync.",
    )

    collections: Mapping[str, str] = _declare(
        json_object(
            "an object of stream names, each with its collection's name",
            {"type": "object", "additionalProperties": {"type": "string"}},
            join=joined_collections,
        ),
        {},
        "Stream name → collection name, used as given. A valid name has lower-case letters and "
        "underscores (and digits with `allow_collection_digits`), at most 100 characters, and no "
        "underscore at its beginning or end. Other streams get a name derived from the stream's. "
        "Set it to choose a name, or to load several streams into one collection.",
    )
    pluralize: bool = _declare(
        boolean(),
        True,
        "Make the last word of a collection's name plural, as Segment recommends. Turn it off to "
        "keep stream names as they are.",
    )
    allow_collection_digits: bool = _declare(
        boolean(),
        False,
        "Keep digits in collection names instead of spelling them out (`s3_files` → "
        "`s_three_files`). Segment's documentation excludes digits, but its own SQL source sends "
        "them.",
    )
    nested: Literal["flatten", "json", "reject"] = _declare(
        choice("flatten", "json", "reject"),
        "flatten",
        "What to do with objects and arrays. `flatten`: an object whose properties are listed in "
        "the schema becomes one property for each of them, named with `_` between the parts; "
        "arrays and all other objects become JSON text. `json`: all become JSON text. `reject`: "
        "the record is rejected.",
    )
    nulls: Literal["send", "drop"] = _declare(
        choice("send", "drop"),
        "send",
        "What to do with nulls. `send`: they are sent, so that a value that was cleared at the "
        "source is cleared in Segment too. `drop`: the property is omitted, and Segment keeps its "
        "current value.",
    )
    non_finite_numbers: Literal["reject", "null"] = _declare(
        choice("reject", "null"),
        "reject",
        "What to do with NaN and infinities, which JSON does not have. `reject`: the record is "
        "rejected. `null` (the word; in YAML, put it in quotes): they are replaced by null.",
    )
    oversized_values: Literal["reject", "truncate", "drop"] = _declare(
        choice("reject", "truncate", "drop"),
        "reject",
        "What to do with a value of 32 KB or more, which Segment does not accept. `reject`: the "
        "record is rejected. `truncate`: the value is cut between two characters. `drop`: the "
        "property is omitted.",
    )
    type_mismatches: Literal["coerce", "send", "reject"] = _declare(
        choice("coerce", "send", "reject"),
        "coerce",
        "What to do with a value that does not match the type in its schema. `coerce`: it is "
        'converted without loss (`1234` → `"1234"` in a string column); if that is impossible, the '
        "record is rejected. `send`: it is sent unchanged. `reject`: the record is rejected.",
    )
    long_ids: Literal["hash", "reject"] = _declare(
        choice("hash", "reject"),
        "hash",
        "What to do with an id of more than 100 characters, which Segment does not accept. "
        "`hash`: it is replaced by its SHA-256. `reject`: the record is rejected.",
    )

    max_rejects: int = _declare(
        integer(-1, _NO_LIMIT),
        0,
        "How many rejected records are tolerated before the run fails; -1 for any number. Any "
        "value but 0 needs `dead_letter_path`. Raise it if a few bad records must not stop a "
        "sync.",
    )
    dead_letter_path: Path | None = _declare(
        _NEW_OR_EXISTING_FILE,
        None,
        "File that rejected records are appended to, one JSON line each, with their faults and "
        "everything that `segment-objects replay` needs to send them again. Runs only append to "
        "it.",
    )
    report_path: Path | None = _declare(
        file_path(
            "the path of a file in an existing folder",
            lambda path: path.parent.is_dir() and (path.is_file() or not path.exists()),
        ),
        None,
        "File that the run report is written to, as JSON: what was read, sent and rejected by "
        "collection, requests and retries, sessions and parts with their ids, warnings, and where "
        "the time went. It is written at the end of every run, including failed ones, and replaces "
        "the previous report.",
    )
    synchronous: bool = _declare(
        boolean(),
        True,
        "Send the header `Synchronous: true` with `set` calls, so that updates of one object are "
        "applied in order. Turning it off is faster, but updates may be reordered.",
    )
    max_concurrency: int = _declare(
        integer(1, API_LIMITS.concurrent_requests),
        10,
        "Maximum number of requests in flight, for the whole target.",
    )
    part_size_bytes: int = _declare(
        integer(1, API_LIMITS.part_bytes),
        API_LIMITS.part_bytes,
        "Uncompressed size in bytes at which a part of a bulk session is closed. A part has at "
        "least one object, regardless of its size. Lower it if uploads of large parts time out.",
    )
    compression_level: Level = _declare(
        integer_or_word("auto", 0, 9),
        "auto",
        "Compression level of the parts. `auto`: 6 while compression is not the bottleneck "
        "(at most a quarter of a core, as with most taps), otherwise 1. 0: no compression. 1 to "
        "3: fast (igzip). 4 to 9: smaller (zlib), 9 is the smallest.",
    )
    keep_alive_seconds: float = _declare(
        number(exclusiveMinimum=0, exclusiveMaximum=API_LIMITS.session_seconds),
        240,
        "Seconds without a call after which a bulk session is kept alive. Segment ends a session "
        "after 600.",
    )
    checkpoint_seconds: float = _declare(
        number(minimum=0, maximum=_YEAR),
        1800,
        "Maximum age of a bulk session in seconds. At this age it is finished and its state is "
        "printed. 0: no age limit, so usually one session for the whole sync. Set a limit "
        "to lose less progress when a sync is interrupted.",
    )
    spool_dir: Path | None = _declare(
        file_path(
            "an existing folder that can be written to",
            lambda path: path.is_dir() and os.access(path, os.W_OK | os.X_OK),
        ),
        None,
        "Folder for parts that are not yet safe in Segment. Defaults to the system's folder "
        "for temporary files. Set it if that folder is small or in memory.",
    )
    spool_max_bytes: int = _declare(
        integer(1, _NO_LIMIT),
        10_000_000_000,
        "Compressed size in bytes at which a bulk session is finished and its state is printed. "
        "Up to twice this size is needed on the disk, while one session is filled and another "
        "one is uploaded. Lower it if the disk is small.",
    )
    request_timeout_seconds: float = _declare(
        number(exclusiveMinimum=0, maximum=_YEAR),
        60,
        "Maximum duration of one request in seconds, except uploads of parts.",
    )
    upload_timeout_seconds: float = _declare(
        number(exclusiveMinimum=0, maximum=_YEAR),
        600,
        "Maximum duration of the upload of one part in seconds. Raise it for a slow network.",
    )
    retry_seconds: float = _declare(
        number(minimum=0, maximum=_YEAR),
        600,
        "Maximum time in seconds that one call spends waiting between its attempts. There are "
        "always at least three attempts. Raise it to survive longer outages.",
    )

    shutdown_seconds: float = _declare(
        number(minimum=0, maximum=_YEAR),
        8,
        "After SIGINT or SIGTERM, the seconds in which the run may still deliver what it has "
        "read. Keep it below the time after which your scheduler kills the process.",
    )
    unknown_messages: Literal["error", "ignore"] = _declare(
        choice("error", "ignore"),
        "error",
        "What to do with a message of an unknown type. `error`: the run fails. `ignore`: it is "
        "ignored, with one warning.",
    )
    max_line_bytes: int = _declare(
        integer(1, 2_147_483_647),
        16_777_216,
        "Maximum length of a line of input in bytes. Reading a line can take up to 45 times its "
        "length in memory, if it consists mostly of short numbers or empty lists; the default "
        "fits a container with 1 GB. Raise it for a tap with longer records.",
    )
    max_depth: int = _declare(
        integer(1, 250),
        100,
        "Maximum depth of nested objects and arrays in a line of input. Raise it for a tap whose "
        "records are nested more deeply.",
    )

    stream_maps: Mapping[str, object] | None = _declare(
        json_object(
            "an object of the SDK's stream maps",
            _SDK_SCHEMAS["stream_maps"],
            join=joined_stream_maps,
        ),
        None,
        "Stream name → how to change its records: rename, filter, add and remove properties. See "
        "https://sdk.meltano.com/en/latest/stream_maps.html.",
    )
    stream_map_config: Mapping[str, object] | None = _declare(
        # Often holds the seed of a hash, so no repr shows it.
        json_object("an object", _SDK_SCHEMAS["stream_map_config"], in_repr=False),
        None,
        "Your own values, for use in the expressions of `stream_maps`.",
    )
    faker_config: Mapping[str, object] | None = _declare(
        json_object("an object with `seed` and `locale`", _SDK_SCHEMAS["faker_config"]),
        None,
        "Seed and locale of `fake` in the expressions of `stream_maps`. Needs the package `faker` "
        "in the target's environment.",
    )
    flattening_enabled: bool = _declare(
        boolean(),
        False,
        "Name nested properties as the SDK's flattening does (`flattening_separator`, "
        "`flattening_max_key_length`), and flatten declared objects to `flattening_max_depth`, "
        "regardless of `nested`. Values are not changed. Rarely needed: `nested: flatten` flattens "
        "to any depth.",
    )
    flattening_max_depth: int | None = _declare(
        integer(0, 1000),
        None,
        "How many levels of declared objects are flattened. `nested` decides about deeper "
        "objects; by default, they become JSON text. 0 turns flattening off. Required with "
        "`flattening_enabled`.",
    )
    flattening_max_key_length: int | None = _declare(
        integer(1, 10_000),
        None,
        "A flattened name of this many characters or more is shortened part by part, from the "
        "left: a part is replaced by its capital letters, or by its first three letters. Defaults "
        "to 255. Ids use the original names of the key properties.",
    )
    flattening_separator: str | None = _declare(
        text("the text between the parts of a flattened name"),
        None,
        "Text between the parts of a flattened name, before the name is converted to snake case. "
        "Defaults to `__`, which becomes `_`.",
    )
    add_record_metadata: bool = _declare(
        boolean(),
        False,
        "Add the SDK's `_sdc_` properties to every record: when it was extracted, received and "
        "batched, its sequence and its version.",
    )
    validate_records: bool = _declare(
        boolean(),
        False,
        "Validate every record, as the tap wrote it, against its whole JSON schema, and reject it "
        "if it is invalid. Off by default, since taps violate their schemas in ways that do not "
        "matter to Segment; `type_mismatches` checks the type of every column in any case.",
    )

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], warn: Callable[[str], None] = logger.warning
    ) -> Settings:
        """Validate a configuration.

        Args:
            config: JSON values by the setting's name; null means that the setting is not set.
            warn: called with a sentence for each setting that is unknown, has no effect or looks
                wrong.

        Raises:
            ConfigurationError: names every setting that is wrong.
        """
        for name in config:
            if name not in DECLARED:
                warn(unknown_setting_warning(name, DECLARED))
        values, errors = check(config)
        if errors:
            raise ConfigurationError("; ".join(errors.values()))
        settings = cls(**values)
        for sentence in no_effect_warnings(settings):
            warn(sentence)
        return settings

    @property
    def address(self) -> str:
        """The base address of the API that `method` names, from its URL or `region`."""
        if self.method == "bulk":
            return self.bulk_url or BULK_URLS[self.region]
        return self.objects_url or OBJECTS_URLS[self.region]

    @property
    def plan_options(self) -> PlanOptions:
        """The options of a stream's plan; the SDK's flattening is off with a depth of 0."""
        flattening = None
        if self.flattening_enabled and self.flattening_max_depth:
            options = {
                "separator": self.flattening_separator,
                "max_key_length": self.flattening_max_key_length,
            }
            flattening = Flattening(self.flattening_max_depth, **_without_none(options))
        return self._options(PlanOptions, flattening=flattening)

    @property
    def reader_options(self) -> ReaderOptions:
        """The limits of the reader."""
        return self._options(ReaderOptions)

    @property
    def bulk_limits(self) -> BulkLimits:
        """The limits of bulk sessions and their parts."""
        return self._options(BulkLimits, spool_dir=self.spool_dir and str(self.spool_dir))

    @property
    def retry_policy(self) -> RetryPolicy:
        """How long a request is retried."""
        return RetryPolicy(budget_seconds=self.retry_seconds)

    @property
    def transport_options(self) -> TransportOptions:
        """How requests are sent."""
        return self._options(
            TransportOptions,
            timeout_seconds=self.request_timeout_seconds,
            ca_bundle=self.ca_bundle and str(self.ca_bundle),
        )

    def _options(self, kind: type[OptionsT], **others: object) -> OptionsT:
        """The options of a part of the target: the settings of the same names, and `others`."""
        names = [name for name in DECLARED if name in kind.__dataclass_fields__]
        return kind(**{**{name: getattr(self, name) for name in names}, **others})

    def for_sdk(self) -> dict[str, object]:
        """The configuration of the SDK's own code: the settings that it reads, if they are set.

        It has no secrets, and no settings that the SDK knows and this target does not support.
        """
        return _without_none({name: getattr(self, name) for name in _SDK_SETTINGS})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


DECLARED: Mapping[str, Declaration] = {
    setting.name: setting.metadata["declaration"] for setting in fields(Settings)
}
"""Every setting by its name in a file, in the order of the documentation."""


def check(config: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """Validate a configuration.

    Returns:
        The valid values by name, as `Settings` uses them, and for each wrong setting a sentence
        that begins with its name. A rule between settings is checked only if each of them is valid
        by itself.
    """
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, declaration in DECLARED.items():
        value = config.get(name)
        if value is None:
            continue
        try:
            values[name] = declaration.kind.validate(value)
        except WrongValueError as error:
            errors[name] = f"{name} {error}"
    invalid = set(errors)
    for names, sentence in violations(Settings(**values)):
        if invalid.isdisjoint(names):
            errors.setdefault(names[0], sentence)
    return values, errors


def config_jsonschema() -> dict[str, Any]:
    """Return a new JSON schema of a configuration file, for the SDK.

    Nothing is `required`: that depends on other settings, and is checked by `Settings`.
    """
    properties: dict[str, object] = {}
    for name, declaration in DECLARED.items():
        schema = {
            **declaration.kind.schema,
            "title": _title(name),
            "description": declaration.description,
        }
        if declaration.default is not None:
            schema["default"] = deepcopy(declaration.default)
        properties[name] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
    }


def _title(name: str) -> str:
    capitals = {"url": "URL", "http": "HTTP", "ca": "CA"}
    return " ".join(capitals.get(word, word.capitalize()) for word in name.split("_"))
