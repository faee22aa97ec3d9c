"""The catalogue in sections, as data: one row for each metric."""
