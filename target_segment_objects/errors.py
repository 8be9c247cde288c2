"""Every error that this package raises on purpose, grouped by what the reader can do about it.

    SegmentObjectsError
    ├── ConfigurationError            correct the configuration
    │   └── AuthenticationError       correct `write_key` or `region`: Segment rejected the key
    ├── InputError                    correct the tap, or the setting that the message names
    │   ├── MessageError              a line is not a Singer message
    │   │   └── MissingSchemaError    a message came before the SCHEMA of its stream
    │   ├── SchemaError               a SCHEMA cannot be planned: names clash or are too long
    │   └── RejectedRecordError       a record cannot become an object
    ├── OutputError                   keep stdout open: states cannot be printed
    └── DeliveryError
        ├── UnavailableError          try again: the network or Segment failed until retries ended
        ├── RefusedError              give up: Segment refused the request, and would again
        │   ├── SessionRefusedError   start a new session: this one expired, or was refused
        │   └── PartTooLargeError     send smaller parts: Segment refused one of this size
        ├── SpoolError                free disk space: parts cannot be stored
        ├── DeadLetterError           free disk space: rejects cannot be written
        ├── LocalWarehouseError       free disk space: the local warehouse cannot be written
        └── ThreadError               raise the limit: the system cannot start more threads

A message says what happened, where (line, stream, setting) and what to do. It never contains a
value of a record or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.faults import Fault

__all__ = [
    "Attempt",
    "AuthenticationError",
    "ConfigurationError",
    "DeadLetterError",
    "DeliveryError",
    "InputError",
    "LocalWarehouseError",
    "MessageError",
    "MissingSchemaError",
    "OutputError",
    "PartTooLargeError",
    "RefusedError",
    "RejectedRecordError",
    "SchemaError",
    "SegmentObjectsError",
    "SessionRefusedError",
    "SpoolError",
    "ThreadError",
    "UnavailableError",
    "one_line",
]


_MAX_CHARACTERS: Final = 900
_FAULTS_SHOWN: Final = 5


def one_line(text: str) -> str:
    """A text for a log: printable, on one line, of at most 900 characters."""
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text[:_MAX_CHARACTERS]
    )
    return shown[:_MAX_CHARACTERS] + (" …" if len(text) > _MAX_CHARACTERS else "")


class SegmentObjectsError(Exception):
    """The root of the tree: catch it to catch all errors of this package.

    Attributes:
        is_logged: whether it was logged when it was raised, before the run had ended.
    """

    is_logged = False


class ConfigurationError(SegmentObjectsError):
    """A setting is missing or wrong. The message names it and says what is allowed."""


class InputError(SegmentObjectsError):
    """The tap's output cannot be loaded as it is.

    Attributes:
        sentence: what is wrong, without the position.
        line: the number of the line in the input, from 1; 0 when it is not known.

    Args:
        column: where in the line, from 1; 0 when it is not known.
    """

    def __init__(self, sentence: str, *, line: int = 0, column: int = 0) -> None:
        prefix = f"line {line}: " if line else ""
        suffix = f" (column {column})" if column else ""
        super().__init__(f"{prefix}{sentence}{suffix}")
        self.sentence = sentence
        self.line = line


class MessageError(InputError):
    """A line of the input is not a valid Singer message."""


class MissingSchemaError(MessageError):
    """A RECORD or BATCH came before the SCHEMA of its stream."""


class SchemaError(InputError):
    """A SCHEMA message cannot be made into a plan."""


class RejectedRecordError(InputError):
    """A record that cannot become an object, with all of its faults at once.

    Attributes:
        faults: why it cannot be sent, at least one.
        stream: the record's stream.
        collection: the object's collection, when the stream is no longer known.
        line: the number of its line in the input; 0 when it is not known.

    Args:
        limit: `max_rejects`, when this reject exceeds it and it is not 0.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        *,
        stream: str = "",
        collection: str = "",
        line: int = 0,
        limit: int = 0,
    ) -> None:
        self.faults = tuple(faults)
        self.stream = stream
        self.collection = collection
        where = f"line {line}: " if line else ""
        whose = f"a record of {self.whose}" if self.whose else "a record"
        reasons = "; ".join(str(fault) for fault in self.faults[:_FAULTS_SHOWN])
        more = len(self.faults) - _FAULTS_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        over = f". This is one reject more than the {limit} of `max_rejects`" if limit else ""
        super().__init__(f"{where}{whose} is rejected: {reasons}{rest}{over}")
        self.line = line

    @property
    def whose(self) -> str:
        """The stream, or the collection when the stream is no longer known."""
        if self.collection:
            return f"collection {self.collection!r}"
        return f"stream {self.stream!r}" if self.stream else ""


@dataclass(frozen=True)
class Attempt:
    """One request of a call; a call is retried until an attempt succeeds.

    Attributes:
        status: the status of the response; `None` when there was no complete response.
        reason: what happened, in a few words without secrets.
        after: seconds from the start of the first attempt to the end of this one.
        call: the API's name of the call, like `set` or `upload`.
        collection: the collection of its objects; empty when there are several.
        number: the number of the attempt in its call, from 1.
        succeeded: whether the response ended the call successfully.
        request_id: the server's id of the request; empty when it sent none.
        bytes: length of the body.
        waited_seconds: time spent waiting since the attempt before.
    """

    status: int | None
    reason: str
    after: float = 0.0
    call: str = ""
    collection: str = ""
    number: int = 1
    succeeded: bool = False
    request_id: str = ""
    bytes: int = 0
    waited_seconds: float = 0.0

    def __str__(self) -> str:
        """What happened, without the time: the same cause is the same text."""
        if self.status is None:
            return self.reason
        is_name = self.reason[:1].isupper()  # like "Bad Gateway"
        return f"{self.status}{'' if is_name else ','} {self.reason}"


class DeliveryError(SegmentObjectsError):
    """Objects that were read could not be delivered.

    Attributes:
        call: the API call, like `set` or `upload`.
        status: the status of the last response; `None` when there was none.
        excerpt: at most 200 characters of the last response's body, sanitized for a log.
        attempts: all attempts, in order.
        summary: what happened, without the advice.
    """

    def __init__(  # noqa: PLR0913  all but the message has a default
        self,
        message: str,
        *,
        call: str = "",
        status: int | None = None,
        excerpt: str = "",
        attempts: Sequence[Attempt] = (),
        summary: str = "",
    ) -> None:
        super().__init__(message)
        self.summary = summary or message
        self.call = call
        self.status = status
        self.excerpt = excerpt
        self.attempts = tuple(attempts)


class UnavailableError(DeliveryError):
    """The retries ended without a success. Running again later may succeed."""


class RefusedError(DeliveryError):
    """Segment refused the request itself, and would refuse it again."""


class SessionRefusedError(RefusedError):
    """400, 404 or 410 in a bulk session: it expired or was refused; no status tells which."""


class PartTooLargeError(RefusedError):
    """413: the part is too large. Smaller parts of the same lines may be accepted."""


class AuthenticationError(RefusedError, ConfigurationError):
    """401 or 403: Segment rejected this write key. Never retried."""


class SpoolError(DeliveryError):
    """Parts cannot be stored or read: the disk is full, unwritable, or gone."""


class DeadLetterError(DeliveryError):
    """A reject cannot be written to the dead letter: the disk is full, unwritable, or gone."""


class ThreadError(DeliveryError):
    """The system cannot start another thread, which the delivery needs."""


class LocalWarehouseError(DeliveryError):
    """The file of `local_warehouse` cannot be written, for example since the disk is full."""


class OutputError(SegmentObjectsError):
    """Stdout is closed, so that no state can be printed. Sending again does no harm."""
