"""`surestep.client`: a server's model with the interface of `surestep.Scorer`, also with `await`.

    from surestep.client import Client

    with Client("http://127.0.0.1:8000") as scorer:
        scores = scorer.score("What is 12 * 3 + 4?", ["12 * 3 = 36.", "36 + 4 = 41."])
        scores.confidences, scores.min, scores.first_below(0.5)

A server that is busy, starts or stops is asked again, as it says when; whatever else goes wrong is one of Surestep's
own errors, in one line. Knows HTTP; knows no model.
"""

from __future__ import annotations

from surestep.client.awaiting import AsyncClient, AsyncSession
from surestep.client.blocking import Client, RemoteSession

__all__ = ["AsyncClient", "AsyncSession", "Client", "RemoteSession"]
