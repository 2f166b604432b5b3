"""What Prometheus may ask: how many, how long, how full. No label names a key or anything that a user wrote."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        names = {"registry": self._registry, "namespace": "surestep"}
        self._requests = Counter("requests", "Answers, by route and status.", ["route", "status"], **names)
        self._seconds = Histogram(
            "request_seconds", "From a request's first byte to its answer.", ["route"], buckets=_SECONDS, **names
        )
        self._dropped = Counter("dropped_requests", "Requests that left the queue before a pass took them.", **names)
        self._failed = Counter("failed_passes", "Passes that failed and were tried again in halves.", **names)
        self._tokens = Counter("tokens", "Tokens that went through the model.", **names)
        self._steps = Counter("steps", "Steps that were scored.", **names)
        self._pass_seconds = Histogram("pass_seconds", "Time of a pass.", buckets=_SECONDS, **names)
        self._pass_tokens = Histogram("pass_tokens", "Tokens in a pass.", buckets=_TOKENS, **names)
        self._pass_requests = Histogram("pass_requests", "Requests in a pass.", buckets=_REQUESTS, **names)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A number that is asked for whenever someone looks."""
        gauge = Gauge(name, meaning, registry=self._registry, namespace="surestep")
        gauge.set_function(value)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; 499: its client went away."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def pass_done(self, *, num_requests: int, num_tokens: int, num_steps: int, seconds: float) -> None:
        """A pass went well."""
        self._tokens.inc(num_tokens)
        self._steps.inc(num_steps)
        self._pass_seconds.observe(seconds)
        self._pass_tokens.observe(num_tokens)
        self._pass_requests.observe(num_requests)

    def pass_failed(self) -> None:
        """A pass failed."""
        self._failed.inc()

    def dropped(self) -> None:
        """A request left the queue before a pass took it."""
        self._dropped.inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
