"""The scheduler and its jobs."""
