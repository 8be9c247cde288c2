"""What `target_segment_objects` itself offers, pinned, and that it is imported when it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import target_segment_objects


def _modules_after(script: str) -> set[str]:
    """The modules that a fresh process has imported after a script."""
    script += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return set(json.loads(run.stdout))


def test_the_face_is_pinned() -> None:
    """A name that comes or goes is a decision."""
    assert target_segment_objects.__all__ == [
        "BULK_URLS",
        "OBJECTS_URLS",
        "BulkApi",
        "Caller",
        "EncodedRecord",
        "PlanOptions",
        "RetryPolicy",
        "SegmentObject",
        "SetApi",
        "StreamPlan",
        "TargetSegmentObjects",
        "Transport",
        "TransportOptions",
        "UploadSession",
        "__version__",
        "compile_plan",
    ]


@pytest.mark.parametrize("name", target_segment_objects.__all__)
def test_every_name_is_there(name: str) -> None:
    """It is an attribute, `dir` lists it, and it is the one that its folder offers."""
    value = getattr(target_segment_objects, name)
    assert name in dir(target_segment_objects)
    if callable(value):
        assert value.__name__ == name
        assert value is getattr(sys.modules[value.__module__], name)


def test_another_name_is_an_attribute_error() -> None:
    """As of every module; a folder is imported as usual."""
    with pytest.raises(AttributeError, match="'target_segment_objects' has no attribute 'BulkAPI'"):
        target_segment_objects.BulkAPI  # noqa: B018
    from target_segment_objects import plan  # noqa: PLC0415

    assert plan.compile_plan is target_segment_objects.compile_plan


def test_the_package_alone_imports_nothing() -> None:
    """No module of its own, and no dependency."""
    new = _modules_after("import target_segment_objects") - _modules_after("")
    others = {name for name in new if name.split(".")[0] not in sys.stdlib_module_names}
    assert others == {"target_segment_objects"}


def test_the_plan_and_the_client_import_no_singer() -> None:
    """Nor the settings, the target or the emulator."""
    names = ", ".join(set(target_segment_objects.__all__) - {"TargetSegmentObjects"})
    own = {
        name.split(".")[1]
        for name in _modules_after(f"from target_segment_objects import {names}")
        if name.startswith("target_segment_objects.")
    }
    assert own == {"client", "errors", "faults", "objects", "plan", "threads"}
    assert "singer_sdk" not in _modules_after(f"from target_segment_objects import {names}")
