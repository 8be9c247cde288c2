"""A Singer target that loads any tap's records into Segment as objects.

The data's way is one direction through the rooms of this package: reader, plan, object, delivery,
receipt, checkpoint. `target_segment_objects.client` calls the two APIs without Singer;
`target_segment_objects.emulator` is Segment on loopback.
"""

from __future__ import annotations
