"""The client's public names are pinned, and it does not import other folders."""

from __future__ import annotations

import doctest
import subprocess
import sys

from target_segment_objects import client


def test_the_public_face_is_pinned() -> None:
    """Adding or removing a name is a change that users see."""
    assert client.__all__ == [
        "BULK_URLS",
        "OBJECTS_URLS",
        "Action",
        "Address",
        "BulkApi",
        "Caller",
        "Clock",
        "ConcurrencyLimit",
        "Destination",
        "Failure",
        "FailureKind",
        "FileBody",
        "Response",
        "Retry",
        "RetryPolicy",
        "SetApi",
        "Transport",
        "TransportOptions",
        "UploadSession",
        "advise",
        "base_address",
        "decide",
        "find_ca_bundle",
        "find_proxy",
        "has_certificates",
        "proxy_address",
        "validate_write_key",
    ]
    assert all(getattr(client, name).__doc__ for name in client.__all__)


def test_the_example_runs() -> None:
    """The example in the module's docstring runs."""
    results = doctest.testmod(client)
    assert results.attempted
    assert not results.failed


def test_it_knows_no_singer() -> None:
    """Importing the client imports neither the SDK nor another folder of this package."""
    code = (
        "import sys, target_segment_objects.client\n"
        "ours = {n.split('.')[1] for n in sys.modules if n.startswith('target_segment_objects.')}\n"
        "print(sorted(ours), 'singer_sdk' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['client', 'errors', 'objects', 'threads'] False"
