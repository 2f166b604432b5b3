"""What Prometheus may ask: how many, how long, how full. No label names a key or anything that a user wrote."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_NAMESPACE = "surestep"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def count(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, meaning, labels, namespace=_NAMESPACE, registry=registry)

        def spread(name: str, meaning: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, meaning, labels, namespace=_NAMESPACE, registry=registry, buckets=buckets)

        self._requests = count("requests", "Answers, by route and status.", ("route", "status"))
        self._seconds = spread("request_seconds", "From a request's first byte to its answer.", _SECONDS, ("route",))
        self._dropped = count("dropped_requests", "Requests that left the queue before a pass took them.")
        self._failed = count("failed_passes", "Passes that failed and were tried again in halves.")
        self._tokens = count("tokens", "Tokens that went through the model.")
        self._steps = count("steps", "Steps that were scored.")
        self._pass_seconds = spread("pass_seconds", "Time of a pass.", _SECONDS)
        self._pass_tokens = spread("pass_tokens", "Tokens in a pass.", _TOKENS)
        self._pass_requests = spread("pass_requests", "Requests in a pass.", _REQUESTS)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A number that is asked for whenever someone looks."""
        gauge = Gauge(name, meaning, registry=self._registry, namespace=_NAMESPACE)
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
