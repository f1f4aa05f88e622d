"""Figures of ours beside a baseline measured in the same run."""
