"""The log on stderr: readable on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer


class _Lasting:
    """A stream that may lose its reader: a log that nobody reads any more is no reason to stop serving."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except BrokenPipeError:
            self._go_on_without()

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._go_on_without()

    def _go_on_without(self) -> None:
        """Write to nowhere from here on, so that the flush at the end of the process finds no pipe either."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def configure(form: str = "auto", level: str = "info", stream: TextIO | None = None) -> bool:
    """Set up structlog for this process. `form`: auto, human or json; says whether people read it.

    Times are RFC 3339: in JSON UTC, for people local.
    """
    out = _Lasting(sys.stderr if stream is None else stream)
    human = form == "human" or (form == "auto" and out.isatty())
    time = structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human, key="time")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        time,
    ]
    if human:
        plain = structlog.dev.plain_traceback
        shared.append(
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, timestamp_key="time")
        )
    else:
        # Without the values of variables: content and tokens are among them.
        told = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        shared += [told, structlog.processors.JSONRenderer(ensure_ascii=False)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, out)),
        cache_logger_on_first_use=False,
    )
    return human
