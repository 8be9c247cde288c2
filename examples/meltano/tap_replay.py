#!/usr/bin/env python3
"""A Singer tap that prints files of Singer messages, such as the recorded output of another tap.

Its only setting, `files`, is a list of paths, printed in this order. It needs only Python.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Print the files that the configuration names. Other options of a tap are ignored."""
    parser = argparse.ArgumentParser(prog="tap-replay", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    options, _ = parser.parse_known_args()
    for path in json.loads(options.config.read_text(encoding="utf-8"))["files"]:
        with Path(path).open("rb") as messages:
            shutil.copyfileobj(messages, sys.stdout.buffer)


if __name__ == "__main__":
    main()
