"""Benchmarks: results in one form, targets, projections, verdicts and the report page."""
