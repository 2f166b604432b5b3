"""`/health`, `/ready`, `/metrics`, `/v1/about`: what machines and people ask about the server itself."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from surestep.serving.http.failures import Failure, error_answers
from surestep.serving.http.strict_json import StrictJsonRoute
from surestep.serving.service import Service


class Status(BaseModel):
    """Whether it is as asked."""

    status: str


class About(BaseModel):
    """Which model answers, and within which limits."""

    model: dict[str, Any] = Field(description="Checkpoint, backbone, calibration, arithmetic.")
    limits: dict[str, float] = Field(description="What a request may have.")


_SHOWN = (
    *("checkpoint", "manifest_sha256", "step", "backbone", "formatter_hash", "split_rule"),
    *("calibration", "certificate", "monitor", "selective", "attention", "precision"),
)


def health_router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=StrictJsonRoute, tags=["server"])

    @router.get("/health", summary="Is the process well?", responses=error_answers(400, 503))
    async def health() -> Status:
        """503 where passes fail one after another: start it anew."""
        if not service.is_healthy:
            raise Failure(503, "passes fail one after another; the server's log has the cause")
        return Status(status="ok")

    @router.get("/ready", summary="Should requests be sent here?", responses=error_answers(400, 503))
    async def ready() -> Status:
        """503 until the model is warm, while the server stops, and where passes fail."""
        if not service.is_ready:
            reason = "the server stops" if service.is_draining else "the model is not ready"
            raise Failure(503, reason, {"Retry-After": "1"})
        return Status(status="ready")

    @router.get(
        "/metrics", summary="For Prometheus", response_class=Response, responses=_METRICS | error_answers(400, 401)
    )
    async def metrics() -> Response:
        """Counters, gauges and histograms; nothing names a key or a text."""
        return Response(service.metrics.text(), media_type=_TEXT)

    @router.get("/v1/about", summary="Which model answers", responses=error_answers(400, 401))
    async def about() -> About:
        """The folders of the server's disk are not shown."""
        facts = service.runner.about()
        model = {name: _without_folders(facts[name]) for name in _SHOWN if name in facts}
        settings = service.settings
        limits = {
            "body_bytes": settings.max_body_bytes,
            "steps": settings.max_steps,
            "candidates": settings.max_candidates,
            "tokens": service.speed.request_limit,
            "deadline_s": settings.deadline_s,
            "session_expiry_s": settings.session_expiry_s,
        }
        return About(model=model, limits=limits)

    return router


def _without_folders(value: Any) -> Any:
    """Where a folder of this machine is named, its own name alone; `owner/name` of the hub stays."""
    if isinstance(value, dict):
        return {name: _without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(inner) for inner in value]
    text = str(value) if isinstance(value, PurePath) else value
    is_folder = isinstance(text, str) and any(kind(text).is_absolute() for kind in (PurePosixPath, PureWindowsPath))
    return PureWindowsPath(text).name if is_folder else text


_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}
}
