"""The proof that the two implementations agree."""
