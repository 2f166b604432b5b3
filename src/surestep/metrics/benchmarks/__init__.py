"""Figures of benchmarks whose unit is a solution or a problem, on the same draws and intervals as all others."""
