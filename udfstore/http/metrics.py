"""What operators watch, in Prometheus' text format (version 0.0.4).

`METRICS` is the one list of it: documentation, alert rules and dashboard name nothing else. Without names nothing here
tells what tasks, tags, tokens or hosts are called: there are counts, and ages of the oldest.
"""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from udfstore.errors import UdfstoreError
from udfstore.service import Histogram, Service
from udfstore.service.watched import SECOND, Having, followed, tasks
from udfstore.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_NAMED = 1000
"""Series of one metric that have names in their labels: what a Prometheus takes from one target without a thought."""


@dataclass(frozen=True, slots=True)
class Told:
    """A metric as it is told. Those labelled with a task, a tag or an owner are told to who may see names."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether its labels hold names."""
        return not {"task", "tag", "owner"}.isdisjoint(self.labels)


_CALL = ("front", "kind")

METRICS = (
    Told("udfstore_build_info", "gauge", "1; the labels are empty without names.", ("version", "python")),
    Told("udfstore_start_time_seconds", "gauge", "When the server started, in seconds since 1970."),
    Told(
        "udfstore_calls_total",
        "counter",
        "Calls that ended, by front (socket, http), kind and outcome: ok, or the code of the error.",
        (*_CALL, "code"),
    ),
    Told("udfstore_call_seconds", "histogram", "Time from a call to its end, of calls that are not endless.", _CALL),
    Told("udfstore_calls_open", "gauge", "Calls under way; save, load, put-blobs, get-blobs are transfers.", _CALL),
    Told("udfstore_content_received_bytes_total", "counter", "Bytes of content that came in.", ("front",)),
    Told("udfstore_content_sent_bytes_total", "counter", "Bytes of content that went out, also as files.", ("front",)),
    Told("udfstore_connections", "gauge", "Connections at present.", ("front",)),
    Told("udfstore_connections_total", "counter", "Connections since the start.", ("front",)),
    Told("udfstore_connections_refused_total", "counter", "Connections that were turned away.", ("front",)),
    Told(
        "udfstore_refusals_total",
        "counter",
        "What somebody may not do, by the right it takes and what refused it: a listener, the rules, its token, no "
        "signature, or that no tag may be read that names the content.",
        ("front", "right", "by"),
    ),
    Told("udfstore_buffered_bytes", "gauge", "Bytes received and not yet written, or waiting to be sent.", ("front",)),
    Told("udfstore_store_problem", "gauge", "1 while the store takes no writes or cannot be read, else 0."),
    Told("udfstore_free_bytes", "gauge", "Bytes that the disk of the store would still take."),
    Told("udfstore_floor_bytes", "gauge", "Free space below which saves are refused."),
    Told("udfstore_epoch", "gauge", "Epoch of the store: grows when it is restored from a backup."),
    Told("udfstore_revision", "gauge", "Newest revision: records in the log."),
    Told("udfstore_blobs", "gauge", "Blobs whose content can be had."),
    Told("udfstore_blob_bytes", "gauge", "Bytes of those blobs."),
    Told("udfstore_tags", "gauge", "Tags that are not deleted, those of snapshots too."),
    Told("udfstore_saves_total", "counter", "Saves that ended well; existed: the store had the content.", ("content",)),
    Told("udfstore_saved_bytes_total", "counter", "Bytes of those; existed: what deduplication saved.", ("content",)),
    Told("udfstore_group_sync_seconds", "histogram", "Time to write and sync a group of records: the wait of a move."),
    Told("udfstore_group_records", "histogram", "Records that one sync made durable."),
    Told("udfstore_blob_sync_seconds", "histogram", "Time to sync a blob's content and its name, once it is written."),
    Told("udfstore_trash_blobs", "gauge", "Removed blobs whose files wait to be unlinked."),
    Told("udfstore_trash_bytes", "gauge", "Bytes of those."),
    Told("udfstore_removed_blobs_total", "counter", "Blobs whose files were unlinked."),
    Told("udfstore_sweeps_total", "counter", "Looks for files to unlink, by outcome: ok, failed.", ("outcome",)),
    Told("udfstore_verified_blobs_total", "counter", "Blobs that a scrub or a check hashed and found right."),
    Told("udfstore_damaged_blobs_total", "counter", "Blobs that one found damaged, unreadable or missing, each time."),
    Told("udfstore_tasks", "gauge", "Tasks that the store knows: with nodes (running) and without.", ("state",)),
    Told("udfstore_nodes", "gauge", "Connected nodes; a copy stores nothing.", ("role",)),
    Told("udfstore_rounds_total", "counter", "Rounds of snapshots by outcome: good, void.", ("outcome",)),
    Told(
        "udfstore_restores_total",
        "counter",
        "Nodes that started: restored (ok), with a state that did not work (failed), with none to be had (fresh).",
        ("outcome",),
    ),
    Told("udfstore_oldest_snapshot_age_seconds", "gauge", "Longest time since a running task was confirmed; 0: none."),
    Told(
        "udfstore_followers",
        "gauge",
        "Tags followed by connections: in use at the newest version (current), not yet (lagging), could not load it"
        " (failed).",
        ("state",),
    ),
    Told("udfstore_oldest_lag_seconds", "gauge", "Longest time for which a follower has not had the newest version."),
    Told("udfstore_task_nodes", "gauge", "Connected nodes that own their place in a task.", ("task",)),
    Told(
        "udfstore_task_snapshot_age_seconds",
        "gauge",
        "Time since a task's snapshot was confirmed, or since its nodes came if none ever was.",
        ("task",),
    ),
    Told("udfstore_task_problem", "gauge", "1 while the last round of a running task was void, else 0.", ("task",)),
    Told("udfstore_tag_version", "gauge", "Newest version of a tag; without those of snapshots.", ("tag",)),
    Told("udfstore_tag_followers", "gauge", "As udfstore_followers, for one tag.", ("tag", "state")),
    Told("udfstore_tag_lag_seconds", "gauge", "As udfstore_oldest_lag_seconds, for one tag.", ("tag",)),
    Told("udfstore_owner_bytes", "gauge", "Where quotas are set: bytes that count for a user or token.", ("owner",)),
    Told("udfstore_quota_bytes", "gauge", "Bytes that may.", ("owner",)),
    Told("udfstore_series_left_out", "gauge", f"Series with names beyond the first {MOST_NAMED} of a metric."),
    Told("process_resident_memory_bytes", "gauge", "Memory of the server that is in use."),
    Told("process_virtual_memory_bytes", "gauge", "Address space of the server."),
    Told("process_cpu_seconds_total", "counter", "Processor time of the server."),
    Told("process_open_fds", "gauge", "Open descriptors of the server."),
    Told("process_max_fds", "gauge", "How many it may have."),
    Told("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970."),
)
"""Every metric, in the order in which they are told. Those that begin with `process_` are made by prometheus_client."""

_Samples = Mapping[Any, float | Histogram]
"""Values, by the tuple of those of their labels."""

_Part = Iterator[tuple[str, _Samples]]
"""Metrics by name."""


def exposition(service: Service, names: bool, *, process: bool = True) -> str:
    """All metrics of a server as text. Reads the catalog, so it belongs into a worker thread, never on the loop.

    `names`: with those of tasks and tags. `process`: with the metrics of the process; a text file for node_exporter
    must do without them, as they are its own.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service, names))
    if process:
        ProcessCollector(registry=registry)
    return generate_latest(registry).decode()


class _Collector(Collector):
    """All that a service can tell now."""

    def __init__(self, service: Service, names: bool) -> None:
        self._service = service
        self._names = names
        self._left_out = 0
        self._now_ns = time.time_ns()

    def collect(self) -> Iterator[Metric]:
        """The metrics. What cannot be read of the store is left out, and told as its problem."""
        told: dict[str, _Samples] = dict(self._of_the_server())
        problem = bool(self._service.store.problem)
        for part in (
            self._of_the_store(),
            self._of_the_disk(),
            self._of_tasks(),
            self._of_followers(),
            self._of_tags(),
            self._of_owners(),
        ):
            try:
                told |= part
            except UdfstoreError:
                problem = True
        told["udfstore_store_problem"] = {(): float(problem)}
        told["udfstore_series_left_out"] = {(): float(self._left_out)}
        for metric in METRICS:
            if metric.name in told and (self._names or not metric.named):
                yield _family(metric, told[metric.name])

    # --- parts ---

    def _of_the_server(self) -> _Part:
        meters = self._service.meters
        build = (__version__, platform.python_version()) if self._names else ("", "")
        yield "udfstore_build_info", {build: 1.0}
        yield "udfstore_start_time_seconds", {(): self._service.started_ns / SECOND}
        fronts = meters.fronts()
        kinds = {(front, kind): tally for front, meter in fronts.items() for kind, tally in meter.kinds.items()}
        ended = {(*kind, code): float(n) for kind, tally in kinds.items() for code, n in tally.codes.items()}
        yield "udfstore_calls_total", ended
        yield "udfstore_call_seconds", {kind: tally.seconds for kind, tally in kinds.items() if tally.seconds.count}
        yield "udfstore_calls_open", {kind: tally.open for kind, tally in kinds.items()}
        yield "udfstore_content_received_bytes_total", {(name,): front.received for name, front in fronts.items()}
        yield "udfstore_content_sent_bytes_total", {(name,): front.sent for name, front in fronts.items()}
        yield "udfstore_connections", {(name,): front.open for name, front in fronts.items()}
        yield "udfstore_connections_total", {(name,): front.connected for name, front in fronts.items()}
        yield "udfstore_connections_refused_total", {(name,): front.refused for name, front in fronts.items()}
        yield "udfstore_refusals_total", self._service.gate.refused()
        yield "udfstore_buffered_bytes", {(name,): front.buffered for name, front in fronts.items()}
        yield "udfstore_restores_total", {(outcome,): n for outcome, n in meters.restores().items()}
        yield "udfstore_rounds_total", {(outcome,): n for outcome, n in meters.rounds().items()}
        figures = self._service.store.meters.read()
        saves = {"new": figures.new, "existed": figures.existed}
        yield "udfstore_saves_total", {(content,): done.count for content, done in saves.items()}
        yield "udfstore_saved_bytes_total", {(content,): done.bytes for content, done in saves.items()}
        yield "udfstore_group_sync_seconds", {(): figures.group_seconds}
        yield "udfstore_group_records", {(): figures.group_records}
        yield "udfstore_blob_sync_seconds", {(): figures.blob_seconds}
        yield "udfstore_removed_blobs_total", {(): figures.removed}
        failed = figures.failed_sweeps
        yield "udfstore_sweeps_total", {("ok",): figures.sweeps - failed, ("failed",): failed}
        yield "udfstore_verified_blobs_total", {(): figures.verified}
        yield "udfstore_damaged_blobs_total", {(): figures.damaged}
        yield "udfstore_epoch", {(): self._service.store.epoch}
        yield "udfstore_revision", {(): self._service.store.revision}

    def _of_the_store(self) -> _Part:
        amounts = self._service.store.gauges.amounts()
        yield "udfstore_blobs", {(): amounts.blobs}
        yield "udfstore_blob_bytes", {(): amounts.bytes}
        yield "udfstore_tags", {(): amounts.tags}
        yield "udfstore_trash_blobs", {(): amounts.leaving}
        yield "udfstore_trash_bytes", {(): amounts.leaving_bytes}

    def _of_the_disk(self) -> _Part:
        store = self._service.store
        yield "udfstore_floor_bytes", {(): store.limits.floor_bytes}
        yield "udfstore_free_bytes", {(): store.free_bytes()}

    def _of_tasks(self) -> _Part:
        known = tasks(self._service, self._now_ns)
        running = [task for task in known if task.running]
        roles = Counter(role for _, role, _ in self._service.register.nodes())
        yield "udfstore_tasks", {("running",): len(running), ("stopped",): len(known) - len(running)}
        yield "udfstore_nodes", {(role,): roles[role] for role in ("owner", "copy")}
        yield "udfstore_oldest_snapshot_age_seconds", {(): max((task.age_s or 0.0 for task in running), default=0.0)}
        yield "udfstore_task_nodes", self._bounded({(task.name,): task.nodes for task in known})
        ages = {(task.name,): task.age_s for task in known if task.age_s is not None}
        yield "udfstore_task_snapshot_age_seconds", self._bounded(ages)
        yield "udfstore_task_problem", self._bounded({(task.name,): bool(task.problem) for task in running})

    def _of_followers(self) -> _Part:
        all = followed(self._service, self._now_ns)
        states = Counter(follower.having for follower in all)
        yield "udfstore_followers", {(having.value,): states[having] for having in Having}
        yield "udfstore_oldest_lag_seconds", {(): max((follower.lag_s for follower in all), default=0.0)}
        of_tag = Counter((follower.tag, follower.having) for follower in all)
        lags: dict[tuple[str, ...], float] = {}
        for follower in all:
            lags[follower.tag,] = max(follower.lag_s, lags.get((follower.tag,), 0.0))
        tags = sorted(tag for (tag,) in lags)
        yield "udfstore_tag_lag_seconds", self._bounded(lags)
        yield (
            "udfstore_tag_followers",
            self._bounded({(tag, having.value): of_tag[tag, having] for tag in tags for having in Having}),
        )

    def _of_tags(self) -> _Part:
        if self._names:
            versions, more = self._service.store.gauges.versions(MOST_NAMED)
            self._left_out += more
            yield "udfstore_tag_version", {(tag,): version for tag, version in versions.items()}

    def _of_owners(self) -> _Part:
        usage = self._service.unnamed.usage()
        yield "udfstore_owner_bytes", self._bounded({(use.owner,): use.bytes + use.unnamed for use in usage})
        quotas = {(use.owner,): use.quota for use in usage if use.quota is not None}
        yield "udfstore_quota_bytes", self._bounded(quotas)

    def _bounded(self, samples: _Samples) -> _Samples:
        """The first of them by name; what is left out is counted."""
        self._left_out += max(0, len(samples) - MOST_NAMED)
        return {labels: samples[labels] for labels in sorted(samples)[:MOST_NAMED]}


def _family(told: Told, samples: _Samples) -> Metric:
    if told.type == "histogram":
        histograms = HistogramMetricFamily(told.name, told.help, labels=told.labels)
        for labels, value in samples.items():
            assert isinstance(value, Histogram)
            histograms.add_metric(labels, [(_text(bound), count) for bound, count in value], value.sum)
        return histograms
    kind = CounterMetricFamily if told.type == "counter" else GaugeMetricFamily
    family = kind(told.name, told.help, labels=told.labels)
    for labels, value in samples.items():
        assert not isinstance(value, Histogram)
        family.add_metric(labels, float(value))
    return family


def _text(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)
