"""Every setting, declared once: name, type, default, what is allowed, what the user reads of it.

The JSON schema for `--about`, the checks, the reading of the environment (`configuration`) and
`docs/settings.md` all come from the fields of `Settings`. A wrong setting is one error that names
it and says what is allowed; no value is ever repeated, since it may be a secret.
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
)
from target_segment_objects.delivery import PartLimits, SessionLimits
from target_segment_objects.errors import ConfigurationError
from target_segment_objects.input import ReaderOptions
from target_segment_objects.objects import MAX_PART_BYTES, MAX_REQUESTS_AT_ONCE, SESSION_SECONDS
from target_segment_objects.plan import Flattening, PlanOptions
from target_segment_objects.settings import addresses
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

    from target_segment_objects.delivery import Level

__all__ = ["DECLARED", "Declaration", "Settings", "check", "config_jsonschema"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D")

_YEAR = 31_536_000  # seconds; beyond some centuries, waiting overflows
_MANY = 2**63 - 1


def _without_bare_null(schema: object) -> Any:
    """The SDK's schema without the bare `"null"` among its alternatives, which is no schema."""
    if isinstance(schema, dict):
        return {
            name: [_without_bare_null(one) for one in part if one != "null"]
            if name in {"anyOf", "oneOf"}
            else _without_bare_null(part)
            for name, part in schema.items()
        }
    return schema


_MAPS: Mapping[str, Mapping[str, object]] = _without_bare_null(STREAM_MAPS_CONFIG["properties"])
_OF_THE_SDK = (
    "stream_maps",
    "stream_map_config",
    "faker_config",
    "add_record_metadata",
    "validate_records",
)


@dataclass(frozen=True)
class Declaration:
    """One setting.

    Attributes:
        name: its name in a file; in the environment, in capitals after `TARGET_SEGMENT_OBJECTS_`.
        kind: what is allowed.
        default: what holds without it; `None` for nothing, or for what the description says.
        description: the user's documentation.
    """

    name: str
    kind: Kind[object]
    default: object
    description: str


def _declare(kind: Kind[T], default: D, description: str) -> T | D:
    """A field of `Settings` that carries its declaration."""
    about = {"kind": kind, "default": default, "description": description}
    shown = kind.in_repr and not kind.secret
    if isinstance(default, dict):
        made: object = field(default_factory=default.copy, repr=shown, metadata=about)
    else:
        made = field(default=default, repr=shown, metadata=about)
    return cast("T | D", made)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user decided, checked. Secrets are left out of its repr."""

    write_key: str | None = _declare(
        text("the write key of a Segment source", addresses.write_key, secret=True),
        None,
        "The write key of the Segment source that takes the objects. Required, unless "
        "`local_warehouse` is set.",
    )
    method: Literal["bulk", "set"] = _declare(
        choice("bulk", "set"),
        "bulk",
        "How objects travel. `bulk`: one session of gzip parts a sync, for a program on a "
        "schedule. `set`: calls of up to 10 objects, for one that runs continuously.",
    )
    region: Literal["oregon", "dublin"] = _declare(
        choice("oregon", "dublin"),
        "oregon",
        "The region of the Segment workspace. `dublin` with `method: bulk` needs `bulk_url`, since "
        "Segment documents no address for it.",
    )
    objects_url: str | None = _declare(
        text("the base address of the Objects API", addresses.api_address),
        None,
        "The base address of the Objects API (`method: set`), without the version path. By default "
        "`https://objects.segment.com`, in `dublin` `https://objects.euw1.segment.com`.",
    )
    bulk_url: str | None = _declare(
        text("the base address of the Objects Bulk API", addresses.api_address),
        None,
        "The base address of the Objects Bulk API (`method: bulk`), without the version path. By "
        "default `https://objects-bulk-api.segmentapis.com`, in `dublin` there is none.",
    )
    allow_http: bool = _declare(
        boolean(),
        False,
        "Allow plain http beyond loopback, for an emulator in another container. The write key "
        "then travels unencrypted.",
    )
    ca_bundle: Path | None = _declare(
        file_path("a file of certificates in PEM form, or a directory", addresses.has_certificates),
        None,
        "A file (PEM) or directory of the certificate authorities to trust. By default "
        "`SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE` of the environment, else the usual ones.",
    )
    proxy: str | None = _declare(
        text("the URL of a proxy", addresses.proxy_address, secret=True),
        None,
        "The proxy to go through, as a URL; user and password may be in it. By default "
        "`HTTPS_PROXY` and `NO_PROXY` of the environment. Never used for loopback.",
    )
    local_warehouse: Path | None = _declare(
        file_path(
            "the path of a file in an existing directory",
            lambda path: path.parent.is_dir() and not path.is_dir(),
        ),
        None,
        "A DuckDB file, made when it is missing. Everything then runs for real, but against the "
        "built-in emulator of Segment, which loads this file. No key is needed and nothing leaves "
        "the machine.",
    )

    collections: Mapping[str, str] = _declare(
        json_object(
            "an object of stream names, each with its collection's name",
            {"type": "object", "additionalProperties": {"type": "string"}},
            join=joined_collections,
        ),
        {},
        "Stream name → collection name, taken as given. A valid name has lower-case letters and "
        "underscores (and digits with `allow_collection_digits`), at most 100 characters, no "
        "underscore first or last. Streams that are not listed get a name by rule.",
    )
    pluralize: bool = _declare(
        boolean(),
        True,
        "Make the last word of a collection's name plural, as Segment advises.",
    )
    allow_collection_digits: bool = _declare(
        boolean(),
        False,
        "Keep digits in collection names instead of spelling them (`s3_files` → `s_three_files`). "
        "Segment's documentation excludes digits; its own SQL source sends them.",
    )
    nested: Literal["flatten", "json", "reject"] = _declare(
        choice("flatten", "json", "reject"),
        "flatten",
        "What becomes of objects and arrays. `flatten`: an object whose properties the schema "
        "lists becomes properties joined by `_`; arrays and all other objects become JSON text. "
        "`json`: all become JSON text. `reject`: the record is rejected.",
    )
    nulls: Literal["send", "drop"] = _declare(
        choice("send", "drop"),
        "send",
        "What becomes of nulls. `send`: sent, so that a value that was cleared is not kept. "
        "`drop`: the property is left out, and Segment keeps the value that it has.",
    )
    non_finite_numbers: Literal["reject", "null"] = _declare(
        choice("reject", "null"),
        "reject",
        "What becomes of NaN and infinities. `reject`: the record is rejected. `null` (the word, "
        "in quotes where YAML is written): they become null.",
    )
    oversized_values: Literal["reject", "truncate", "drop"] = _declare(
        choice("reject", "truncate", "drop"),
        "reject",
        "What becomes of a value of 32 KB or more, which Segment does not take. `reject`: the "
        "record is rejected. `truncate`: cut at a character. `drop`: the property is left out.",
    )
    type_mismatches: Literal["coerce", "send", "reject"] = _declare(
        choice("coerce", "send", "reject"),
        "coerce",
        "What becomes of a value that is not of its schema's type. `coerce`: converted without "
        'loss (`1234` → `"1234"` in a string column), a reject where that is impossible. `send`: '
        "sent as it is. `reject`: the record is rejected.",
    )
    long_ids: Literal["hash", "reject"] = _declare(
        choice("hash", "reject"),
        "hash",
        "What becomes of an id over 100 characters. `hash`: its SHA-256 is the id. `reject`: the "
        "record is rejected.",
    )

    max_rejects: int = _declare(
        integer(-1, _MANY),
        0,
        "How many rejected records are tolerated before the run ends; -1 for any number. Anything "
        "but 0 needs `dead_letter_path`.",
    )
    dead_letter_path: Path | None = _declare(
        file_path(
            "the path of a file in an existing directory",
            lambda path: path.parent.is_dir() and not path.is_dir(),
        ),
        None,
        "The file that rejected records go to, a JSON line each, with their faults and all that "
        "`segment-objects replay` needs. It is appended to and never shortened by a run.",
    )
    report_path: Path | None = _declare(
        file_path(
            "the path of a file in an existing directory",
            lambda path: path.parent.is_dir() and (path.is_file() or not path.exists()),
        ),
        None,
        "The file that the run report goes to, as JSON: what was read, sent and rejected by "
        "collection, requests and retries, sessions and parts with their ids, warnings, and where "
        "the time went. Written at the end of a run, of one that fails too, in the place of the "
        "report before.",
    )
    synchronous: bool = _declare(
        boolean(),
        True,
        "Send the header `Synchronous: true` with `set` calls, so that updates of one object are "
        "applied in order. Off is faster, and may reorder them.",
    )
    max_concurrency: int = _declare(
        integer(1, MAX_REQUESTS_AT_ONCE),
        10,
        "How many requests may be in flight at once, for the whole target.",
    )
    part_size_bytes: int = _declare(
        integer(1, MAX_PART_BYTES),
        MAX_PART_BYTES,
        "The uncompressed size in bytes at which a part of a bulk session is closed. A part has at "
        "least one object, whatever its size.",
    )
    compression_level: Level = _declare(
        integer_or_word("auto", 0, 9),
        "auto",
        "How hard gzip compresses the parts. `auto`: 6 as long as that takes a quarter of a core "
        "at most and nothing waits for it, as behind most taps, else 1. 0: not at all; 1 to 3: "
        "igzip's levels, fast; 4 to 9: zlib's, 9 is the smallest.",
    )
    keep_alive_seconds: float = _declare(
        number(above=0, below=SESSION_SECONDS),
        240,
        "After how many seconds of silence a bulk session is kept alive. Segment ends a session "
        "after 600.",
    )
    checkpoint_seconds: float = _declare(
        number(least=0, most=_YEAR),
        1800,
        "How many seconds old a bulk session may become before it is finished, its state printed, "
        "and the next one opened with the next record. 0: one session a sync, however long.",
    )
    spool_dir: Path | None = _declare(
        file_path(
            "an existing directory that can be written to",
            lambda path: path.is_dir() and os.access(path, os.W_OK | os.X_OK),
        ),
        None,
        "The directory where parts wait until they are safe. By default the system's directory of "
        "temporary files.",
    )
    spool_max_bytes: int = _declare(
        integer(1, _MANY),
        10_000_000_000,
        "The compressed size in bytes at which a spool makes a checkpoint: its session is finished "
        "and its state printed. The disk takes up to twice this while one session fills and "
        "another one goes up.",
    )
    request_timeout_seconds: float = _declare(
        number(above=0, most=_YEAR),
        60,
        "How many seconds one request may take in all, uploads excepted.",
    )
    upload_timeout_seconds: float = _declare(
        number(above=0, most=_YEAR),
        600,
        "How many seconds the upload of one part may take in all.",
    )
    retry_seconds: float = _declare(
        number(least=0, most=_YEAR),
        600,
        "How many seconds one request may spend waiting between attempts. There are at least three "
        "attempts, whatever this says.",
    )

    shutdown_seconds: float = _declare(
        number(least=0, most=_YEAR),
        8,
        "How many seconds a stop (SIGINT, SIGTERM) leaves for the delivery of what was read.",
    )
    unknown_messages: Literal["error", "ignore"] = _declare(
        choice("error", "ignore"),
        "error",
        "What becomes of a message of an unknown type. `error`: the run ends. `ignore`: it is "
        "passed over, with one warning.",
    )
    max_line_bytes: int = _declare(
        integer(1, 2_147_483_647),
        16_777_216,
        "The longest line of input, in bytes. Reading a line may take up to 45 times its length in "
        "memory, when it has little but short numbers or empty lists; the default fits a container "
        "of 1 GB. Raise it for a tap whose records are longer.",
    )
    max_depth: int = _declare(
        integer(1, 250),
        100,
        "The deepest nesting of objects and arrays in a line of input.",
    )

    stream_maps: Mapping[str, object] | None = _declare(
        json_object(
            "an object of the SDK's stream maps", _MAPS["stream_maps"], join=joined_stream_maps
        ),
        None,
        "Stream name → what to do with its records: rename, filter, add and remove properties. See "
        "https://sdk.meltano.com/en/latest/stream_maps.html.",
    )
    stream_map_config: Mapping[str, object] | None = _declare(
        # Often holds the seed of a hash, so no repr shows it.
        json_object("an object", _MAPS["stream_map_config"], in_repr=False),
        None,
        "Values of your own, for use in the expressions of `stream_maps`.",
    )
    faker_config: Mapping[str, object] | None = _declare(
        json_object("an object with `seed` and `locale`", _MAPS["faker_config"]),
        None,
        "Seed and locale of `fake` in the expressions of `stream_maps`. Needs the package `faker` "
        "beside the target.",
    )
    flattening_enabled: bool = _declare(
        boolean(),
        False,
        "Name nested properties as the SDK's flattening does (`flattening_separator`, "
        "`flattening_max_key_length`), and flatten declared objects to `flattening_max_depth`, "
        "whatever `nested` says; values are the same as without it. Seldom needed: "
        "`nested: flatten` flattens to any depth.",
    )
    flattening_max_depth: int | None = _declare(
        integer(0, 1000),
        None,
        "How many levels of declared objects are flattened; objects further inside become what "
        "`nested` says, JSON text by default. 0 is as if flattening were off. Required with "
        "`flattening_enabled`.",
    )
    flattening_max_key_length: int | None = _declare(
        integer(1, 10_000),
        None,
        "The number of characters from which on a flattened name is shortened: its parts, from the "
        "first on, become their capital letters, or three letters. By default 255. Ids are made "
        "of the key properties under their own names.",
    )
    flattening_separator: str | None = _declare(
        text("the text between the parts of a flattened name"),
        None,
        "What stands between the parts of a flattened name, before it is written in snake case. By "
        "default `__`, which becomes `_`.",
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
        "Check every record, as the tap wrote it, against its whole JSON schema; one that breaks "
        "it is rejected. Off here, since taps break their own schemas in ways that do not matter "
        "to Segment; the type of every column is looked after by `type_mismatches` in any case.",
    )

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], warn: Callable[[str], None] = logger.warning
    ) -> Settings:
        """Settings from one mapping of names and JSON values; null is as if it were not there.

        Args:
            config: the configuration.
            warn: takes a sentence for each setting that is unknown, has no effect or looks wrong.

        Raises:
            ConfigurationError: names every setting that is wrong.
        """
        for name in config:
            if name not in DECLARED:
                warn(unknown_setting_warning(name, DECLARED))
        values, faults = check(config)
        if faults:
            raise ConfigurationError("; ".join(faults.values()))
        settings = cls(**values)
        for remark in no_effect_warnings(settings):
            warn(remark)
        return settings

    @property
    def objects_address(self) -> str:
        """The base address of the Objects API, by `objects_url` or `region`."""
        return self.objects_url or OBJECTS_URLS[self.region]

    @property
    def bulk_address(self) -> str:
        """The base address of the Objects Bulk API, by `bulk_url` or `region`.

        Raises:
            ConfigurationError: the region has none, and `bulk_url` is not set.
        """
        address = self.bulk_url or BULK_URLS.get(self.region)
        if address is None:
            raise ConfigurationError("bulk_url is required with region: dublin")
        return address

    @property
    def plan_options(self) -> PlanOptions:
        """What the plan needs to know."""
        return PlanOptions(
            collections=self.collections,
            pluralize=self.pluralize,
            allow_collection_digits=self.allow_collection_digits,
            nested=self.nested,
            nulls=self.nulls,
            non_finite_numbers=self.non_finite_numbers,
            oversized_values=self.oversized_values,
            type_mismatches=self.type_mismatches,
            long_ids=self.long_ids,
            flattening=self._flattening,
        )

    @property
    def _flattening(self) -> Flattening | None:
        """What the SDK's settings ask for; to a depth of 0 the SDK flattens nothing."""
        if not (self.flattening_enabled and self.flattening_max_depth):
            return None
        asked = {
            "separator": self.flattening_separator,
            "max_key_length": self.flattening_max_key_length,
        }
        given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return Flattening(self.flattening_max_depth, **given)

    @property
    def reader_options(self) -> ReaderOptions:
        """What the reader needs to know."""
        return ReaderOptions(max_line_bytes=self.max_line_bytes, max_depth=self.max_depth)

    @property
    def part_limits(self) -> PartLimits:
        """What the writer of parts needs to know."""
        return PartLimits(
            part_size_bytes=self.part_size_bytes,
            compression_level=self.compression_level,
            spool_dir=None if self.spool_dir is None else str(self.spool_dir),
        )

    @property
    def session_limits(self) -> SessionLimits:
        """How long and how large bulk sessions become."""
        return SessionLimits(
            keep_alive_seconds=self.keep_alive_seconds,
            checkpoint_seconds=self.checkpoint_seconds,
            spool_max_bytes=self.spool_max_bytes,
        )

    @property
    def retry_policy(self) -> RetryPolicy:
        """How long one request is tried."""
        return RetryPolicy(budget_seconds=self.retry_seconds)

    @property
    def transport_options(self) -> TransportOptions:
        """How requests travel."""
        return TransportOptions(
            timeout_seconds=self.request_timeout_seconds,
            upload_timeout_seconds=self.upload_timeout_seconds,
            max_concurrency=self.max_concurrency,
            ca_bundle=None if self.ca_bundle is None else str(self.ca_bundle),
            proxy=self.proxy,
            allow_http=self.allow_http,
        )

    def for_sdk(self) -> dict[str, object]:
        """The part of the configuration that the SDK's own code reads, what is not set left out.

        No secret is in it, and no setting that the SDK knows and this target does not offer.
        """
        part = {name: getattr(self, name) for name in _OF_THE_SDK}
        return {name: value for name, value in part.items() if value is not None}


DECLARED: Mapping[str, Declaration] = {
    each.name: Declaration(each.name, **each.metadata) for each in fields(Settings)
}
"""Every setting by its name, in the order of the documentation."""


def check(config: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """What is right in a configuration, as `Settings` takes it, and what is wrong.

    Returns:
        The checked values by name, and for each wrong setting a sentence that begins with its name.
        A rule between settings is looked at only when each of them is right by itself.
    """
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, declaration in DECLARED.items():
        given = config.get(name)
        if given is None:
            continue
        try:
            values[name] = declaration.kind.validate(given)
        except WrongValueError as error:
            faults[name] = f"{name} {error}"
    alone = set(faults)
    for names, sentence in violations(Settings(**values)):
        if alone.isdisjoint(names):
            faults.setdefault(names[0], sentence)
    return values, faults


def config_jsonschema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for the SDK; a new one at each call.

    Nothing is `required`: what is depends on other settings, and is for `Settings.from_config`.
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
