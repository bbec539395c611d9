"""The log of commands that serve, on standard error: for people, or one JSON object per line."""

import json
import logging
import time


def log_to_stderr(form: str, own: str) -> None:
    """Set up the log of this process: rawbert's loggers from INFO on, others from WARNING on.

    Args:
        form: ``text`` or ``json``.
        own: the logger whose INFO lines are printed in the form ``text`` without time and source, for people and
            scripts.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text(own))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("rawbert").setLevel(logging.INFO)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _Text(logging.Formatter):
    def __init__(self, own: str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._own = own

    def format(self, record: logging.LogRecord) -> str:
        bare = record.name == self._own and record.levelno == logging.INFO
        return record.getMessage() if bare else super().format(record)
