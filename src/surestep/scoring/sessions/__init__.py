"""Scoring a solution step by step, at the cost of each new step alone."""

from surestep.scoring.sessions.session import NextSteps, Session
from surestep.scoring.sessions.session_scorer import SessionScorer, SessionUsage

__all__ = ["NextSteps", "Session", "SessionScorer", "SessionUsage"]
