"""The log on stderr: readable on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


class _Lasting:
    """A stream that may lose its reader: a log that nobody reads any more is no reason to stop serving."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def configure(form: str = "auto", level: str = "info", stream: TextIO | None = None) -> bool:
    """Set up structlog for this process. `form`: auto, human or json; says whether people read it.

    Times are RFC 3339: in JSON UTC, for people local.
    """
    out = _Lasting(sys.stderr if stream is None else stream)
    human = form == "human" or (form == "auto" and out.isatty())
    time = structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human, key="time")
    shared: list[structlog.typing.Processor] = [structlog.processors.add_log_level, time]
    if human:
        plain = structlog.dev.plain_traceback
        shared.append(
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, timestamp_key="time")
        )
    else:
        shared += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, out)),
        cache_logger_on_first_use=False,
    )
    return human
