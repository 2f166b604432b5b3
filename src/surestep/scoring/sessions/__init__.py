"""Scoring a solution step by step, at the cost of each new step alone."""

from surestep.scoring.sessions.session import NextScores, NextSteps, Session
from surestep.scoring.sessions.session_scorer import SessionScorer, SessionUsage

__all__ = ["NextScores", "NextSteps", "Session", "SessionScorer", "SessionUsage"]
