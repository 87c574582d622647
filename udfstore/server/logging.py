"""The log on stderr: readable on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure(form: str = "auto", level: str = "info", stream: TextIO | None = None) -> bool:
    """Set up structlog for this process. `form`: auto, human or json; says whether people read it.

    Times are RFC 3339: in JSON UTC, for people local.
    """
    out = sys.stderr if stream is None else stream
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
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    return human
