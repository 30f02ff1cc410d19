"""Are two programs the same? A case, its records, and the report on them."""
