"""Every limit of the server, its default, and why it is what it is.

Each field is a flag of `surestep serve`, and a row of docs/how-to/serve.md, which a test compares with this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from surestep.settings import Section

_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ServeConfig(Section):
    """How `surestep serve` answers."""

    host: Annotated[str, Field(min_length=1)] = Field(
        "127.0.0.1", description="Address to listen on. Any other than loopback needs API keys."
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(8000, description="Port to listen on; 0: any that is free.")
    api_keys_file: Path | None = Field(
        None,
        description="File with one API key a line, `name key` or the key alone. Unset: the keys of the environment "
        "variable SURESTEP_API_KEYS, parted by commas; where that is unset too, nobody needs one.",
    )

    pass_time_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        50.0,
        description="How long a pass should take, which decides how many tokens it has: a request waits for about two "
        "passes, the one that runs and its own. Up to twice as long where starting a pass takes more than a twentieth "
        "of that.",
    )
    smallest_pass: Annotated[int, Field(ge=1)] = Field(
        256, description="Tokens that a pass may always have, on however slow a machine: about one request."
    )
    passes_at_once: Annotated[int, Field(ge=0, le=4)] = Field(
        0,
        description="2: while a GPU works on a full pass, the next full one is laid out beside it (a quarter more "
        "throughput measured). On a CPU the two would share its cores. 0: 2 on a GPU, 1 on a CPU.",
    )
    delay_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        5.0,
        description="How long the oldest request waits for others while the model is idle, and only if requests "
        "overlapped in the last second: a lone client waits for nobody.",
    )
    queue_s: _Seconds = Field(
        5.0,
        description="Work that may wait, in seconds of the model's speed; more is refused with 429 and Retry-After.",
    )
    key_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25, description="Share of that which one of several API keys may fill, so that the others find room."
    )
    deadline_s: _Seconds = Field(
        30.0,
        description="Time until a request is answered or refused with 504; a client may ask for less by the header "
        "X-Surestep-Deadline. One that cannot be kept is refused at once.",
    )

    max_body_mb: Annotated[float, Field(gt=0, le=1024)] = Field(
        4.0, description="Size of a request's body in MB (millions of bytes): about a million tokens."
    )
    body_timeout_s: _Seconds = Field(
        10.0, description="Time in which a body must arrive; a slower one is refused with 408, for it holds room."
    )
    max_steps: Annotated[int, Field(ge=1)] = Field(512, description="Steps of one solution, or of one session.")
    max_candidates: Annotated[int, Field(ge=1)] = Field(256, description="Candidates of one request.")
    max_request_passes: Annotated[float, Field(gt=0)] = Field(
        4.0, description="Tokens of one request, in passes; a larger one is cut, and its pieces take turns with others."
    )
    smallest_request: Annotated[int, Field(ge=1)] = Field(
        8192, description="Tokens that a request may always have, on however slow a machine: a long solution."
    )
    max_sessions: Annotated[int, Field(ge=1)] = Field(
        1024, description="Sessions open at once; one of several API keys may have its `key_share` of them."
    )
    session_expiry_s: _Seconds = Field(900.0, description="A session that is not used for so long is closed.")

    drain_notice_s: Annotated[float, Field(ge=0, le=600)] = Field(
        0.5,
        description="After SIGTERM: how long requests are still taken while /ready says 503, for those on their way.",
    )
    drain_s: _Seconds = Field(20.0, description="After SIGTERM: how long what waits is still answered.")
    keep_alive_s: _Seconds = Field(
        75.0, description="How long an idle connection is kept open: longer than load balancers do (60 s)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Which lines of the log (JSON, on stderr) are written; `info` has one for each request."
    )
    log_texts: bool = Field(
        False, description="Whether messages of errors, which may quote problems and steps, are in the log."
    )

    @property
    def max_body_bytes(self) -> int:
        """`max_body_mb` in bytes."""
        return int(self.max_body_mb * 1e6)
