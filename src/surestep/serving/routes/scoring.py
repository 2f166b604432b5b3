"""`/v1/steps` and `/v1/rerank`: whole solutions."""

from __future__ import annotations

from fastapi import APIRouter

from surestep.counted import counted
from surestep.errors import InputError
from surestep.inference.rerank import ranked
from surestep.serving.http.context import CURRENT
from surestep.serving.http.failures import error_answers
from surestep.serving.http.strict_json import StrictJsonRoute
from surestep.serving.routes.bodies import (
    RerankAnswer,
    RerankBody,
    StepsAnswer,
    StepsBody,
    certified_of,
    in_rank,
    numbers_of,
)
from surestep.serving.service import Service, chain_of, solution_of, tree_of_candidates

MODEL_ERRORS = error_answers(400, 401, 408, 413, 422, 429, 500, 503, 504)
"""What every route that asks the model may answer."""


def scoring_router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(route_class=StrictJsonRoute, responses=MODEL_ERRORS, tags=["scoring"])

    @router.post("/v1/steps", summary="Confidence of every step of a solution", response_model_exclude_unset=True)
    async def score_steps(body: StepsBody) -> StepsAnswer:
        """How likely each step is right, and the numbers that people make of them."""
        scores = await service.score_tree(chain_of(body.problem, body.steps, body.contexts), body.dataset)
        solution = solution_of(body.steps, scores, range(len(body.steps)))
        if service.certifier is not None:
            (solution,) = service.certifier.solutions([solution], body.dataset)
        first = None if body.threshold is None else solution.first_below(body.threshold)
        certified = certified_of(solution, service.certifier)
        return StepsAnswer(**numbers_of(solution), **certified, first_below=first, num_tokens=CURRENT.get().num_tokens)

    @router.post("/v1/rerank", summary="Candidates, best first", response_model_exclude_unset=True)
    async def rerank(body: RerankBody) -> RerankAnswer:
        """Scores all candidates together; what they begin with together is scored once."""
        most = service.settings.max_candidates
        if len(body.candidates) > most:
            raise InputError(f"the request has {counted(len(body.candidates), 'candidate')}; allowed: {most:,}")
        tree, paths = tree_of_candidates(body.problem, body.candidates)
        scores = await service.score_in_parts(tree, body.dataset)
        solutions = [solution_of(steps, scores, path) for steps, path in zip(body.candidates, paths, strict=True)]
        order = ranked(solutions, body.by)
        if service.certifier is not None:
            order = service.certifier.ranking(order, body.by, body.dataset)
        ranking = [in_rank(candidate, service.certifier) for candidate in order]
        return RerankAnswer(ranking=ranking, num_tokens=CURRENT.get().num_tokens)

    return router
