"""Every error that this package raises on purpose, grouped by what the reader can do about it.

    SegmentObjectsError
    ├── ConfigurationError            fix the configuration
    │   └── AuthenticationError       fix `write_key` or `region`: Segment refused the key
    ├── InputError                    fix the tap, or the setting that the message names
    │   ├── MessageError              a line is not a Singer message
    │   │   └── MissingSchemaError    a record came before its stream's SCHEMA
    │   ├── SchemaError               a SCHEMA cannot be planned: a clash, a name too long
    │   └── RejectedRecordError       a record cannot become an object
    ├── OutputError                   keep stdout open: states cannot be printed
    └── DeliveryError
        ├── UnavailableError          try again: the network or Segment failed until retries ended
        ├── RefusedError              give up: Segment refused the request, and would again
        │   ├── SessionRefusedError   start a new session: this one is gone, or refuses
        │   └── PartTooLargeError     split the part: Segment takes no upload of this size
        ├── SpoolError                make room: parts cannot be kept on the disk
        ├── DeadLetterError           make room: rejects cannot be written down
        ├── LocalWarehouseError       make room: the local warehouse cannot be written
        └── ThreadError               raise the limit: the system starts no more threads

A message says what happened, where (line, stream, setting) and what to do. It never holds a value
of a record nor a secret. `singer_sdk` is not known here; `target` translates where the SDK's own
tests want its classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def one_line(text: str) -> str:
    """A text as a log may hold it: printable, on one line, of at most 900 characters."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_SHOWN])
    return shown[:_SHOWN] + (" …" if len(text) > _SHOWN else "")


_SHOWN = 900


class SegmentObjectsError(Exception):
    """The root of the tree: catch this to catch them all.

    Attributes:
        is_logged: whether it was logged when it came, while the run still had something to do.
    """

    is_logged = False


class ConfigurationError(SegmentObjectsError):
    """A setting is missing or wrong. The message names it and says what is allowed."""


class InputError(SegmentObjectsError):
    """The tap's output cannot be loaded as it is."""


class MessageError(InputError):
    """A line of the input is not a Singer message that can be taken.

    Attributes:
        line: the line's number in the input, from 1; 0 when it is not known.
    """

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


class MissingSchemaError(MessageError):
    """A RECORD, ACTIVATE_VERSION or BATCH came before the SCHEMA of its stream."""


class SchemaError(InputError):
    """A SCHEMA message cannot be made into a plan."""


class RejectedRecordError(InputError):
    """A record that cannot become an object, with all of its faults at once.

    Attributes:
        faults: what is wrong with it, at least one.
        stream: the record's stream.
        collection: the object's collection, where its stream is not known any more.
        line: its line number in the input, 0 when not known.

    Args:
        limit: `max_rejects`, when this is one reject more than that, and it is not 0.
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
        self.line = line
        where = f"line {line}: " if line else ""
        whose = f"a record of {self.whose}" if self.whose else "a record"
        told = "; ".join(str(fault) for fault in self.faults[:_FAULTS_TOLD])
        more = len(self.faults) - _FAULTS_TOLD
        rest = f"; and {more} more" if more > 0 else ""
        over = (
            f". Of such records `max_rejects` allows {limit}, and this is one more" if limit else ""
        )
        super().__init__(f"{where}{whose} is rejected: {told}{rest}{over}")

    @property
    def whose(self) -> str:
        """The stream, or the collection where the stream is not known any more."""
        if self.collection:
            return f"collection {self.collection!r}"
        return f"stream {self.stream!r}" if self.stream else ""


_FAULTS_TOLD = 5


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
        status: the last answer's status, `None` when there was none.
        excerpt: at most 200 characters of the last answer's body, cleaned for a log.
        attempts: every try, the last one last.
        summary: what happened, without advice that a caller who goes on has no use for.
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
    """The retries ended without an answer that counts. Running again later may succeed."""


class RefusedError(DeliveryError):
    """Segment refused the request itself; sending it again would be refused again."""


class SessionRefusedError(RefusedError):
    """400, 404 or 410 on a call of a bulk session: it expired or refuses; no code tells which."""


class PartTooLargeError(RefusedError):
    """413: Segment takes no part of this size. Smaller parts of the same lines may pass."""


class AuthenticationError(RefusedError, ConfigurationError):
    """401 or 403: Segment does not take this write key here. Never retried."""


class SpoolError(DeliveryError):
    """The spool directory cannot take the parts: full, unwritable, or gone."""


class DeadLetterError(DeliveryError):
    """The dead letter cannot take a reject: full, unwritable, or gone."""


class ThreadError(DeliveryError):
    """The system starts no more threads, without which nothing is delivered."""


class LocalWarehouseError(DeliveryError):
    """The file of `local_warehouse` cannot be loaded: a full disk, for one."""


class OutputError(SegmentObjectsError):
    """Stdout is closed, so that no state can be printed. What is sent again does no harm."""
