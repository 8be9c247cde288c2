"""The stock target: the SDK's cookiecutter template, completed as its comments suggest.

    python -m benchmarks.stock --config FILE

It is a `BatchSink` whose records are the SDK's dicts; a batch of 10,000 records becomes a gzip of
JSON objects, which is uploaded.
"""

from __future__ import annotations

import gzip
import io
import json
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

import requests
from singer_sdk import typing as th
from singer_sdk.sinks import BatchSink
from singer_sdk.target_base import Target

__all__ = ["StockTarget"]

_TIMEOUT_SECONDS = 600
_LEVEL = 6


def _plain(value: object) -> object:
    """Convert the SDK's numbers and dates to JSON's."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise TypeError(type(value).__name__)


class _StockSink(BatchSink):
    """Uploads batches to its own session."""

    max_size = 10_000

    def setup(self) -> None:
        """Start the session."""
        super().setup()
        self._client = requests.Session()
        self._url = self.config["bulk_url"]
        self._session = self._post("start").json()["sync_id"]

    def _post(self, call: str, body: bytes = b"") -> requests.Response:
        answer = self._client.post(f"{self._url}/v0/{call}", body, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer

    def process_batch(self, context: dict) -> None:  # type: ignore[type-arg]  # as the SDK has it
        """Write a batch and upload it."""
        body = io.BytesIO()
        with gzip.open(body, "wt", compresslevel=_LEVEL, encoding="utf-8") as file:
            for record in context["records"]:
                item = {
                    "id": str(record["id"]),
                    "collection": self.stream_name,
                    "properties": record,
                }
                file.write(json.dumps(item, default=_plain) + "\n")
        self._post(f"upload/{self._session}", body.getvalue())

    def clean_up(self) -> None:
        """Finish the session."""
        self._post(f"finish/{self._session}", b'{"error":""}')
        self._client.close()
        super().clean_up()


class StockTarget(Target):
    """The target of that sink."""

    name = "target-stock"
    config_jsonschema: ClassVar = th.PropertiesList(
        th.Property("bulk_url", th.StringType, required=True)
    ).to_dict()
    default_sink_class = _StockSink


if __name__ == "__main__":
    StockTarget.cli()
