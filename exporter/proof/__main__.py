"""The process of :func:`.verify.run`: reads its task from the first file, and writes its report to the second."""

import pickle
import sys
from pathlib import Path

from .verify import compare

task, report = map(Path, sys.argv[1:])
report.write_bytes(pickle.dumps(compare(pickle.loads(task.read_bytes()))))
