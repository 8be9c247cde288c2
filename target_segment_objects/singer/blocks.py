"""The fast path of one run: blocks of lines become objects that go to the run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from target_segment_objects.fastpath import LineBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.fastpath import BlockSegment
    from target_segment_objects.reporting import Report
    from target_segment_objects.run import Run
    from target_segment_objects.singer.streams import Routes
    from target_segment_objects.source import SourceRecord

__all__ = ["BlockProcessor"]


class BlockProcessor:
    """Hands the objects of blocks to a run, and counts their records.

    Args:
        run: takes the objects.
        routes: knows the compiled streams.
        report: takes the counts.
    """

    def __init__(self, run: Run, routes: Routes, report: Report) -> None:
        self._run = run
        self._routes = routes
        self._report = report

    def process(
        self,
        first_line: int,
        block: bytes,
        lines: list[bytes],
        process_as_message: Callable[[int], None],
    ) -> None:
        """Process a block segment by segment; the parameters are `MessageReader`'s."""
        self._report.counts.input_arrived()
        line_block = LineBlock(block, lines)
        index = 0
        while index < len(lines):  # a message may change the streams, and so the segments
            for segment in self._routes.block_encoder.encode(line_block, index):
                if self._run.is_cut_short:
                    return
                if segment.is_fallback:
                    process_as_message(segment.first)
                else:
                    self._deliver(segment, lines, first_line)
                index = segment.end

    def _deliver(self, segment: BlockSegment, lines: list[bytes], first_line: int) -> None:
        streams = segment.streams
        for stream, counts in segment.conversions:
            self._report.add_conversions(stream.plan.stream, stream.plan.collection, counts)

        def source_at(index: int) -> SourceRecord:
            line = segment.first + index
            return self._routes.source_record(streams[index], lines[line], first_line + line)

        taken = len(streams)
        try:
            taken = self._run.put_block(segment.objects, source_at)
        finally:
            for stream, records in Counter(streams[:taken]).items():
                plan = stream.plan
                if self._report.count_objects(plan.stream, plan.collection, records):
                    example = segment.objects[streams.index(stream)].encoded()
                    self._report.measure_nulls(plan.stream, example.properties)
