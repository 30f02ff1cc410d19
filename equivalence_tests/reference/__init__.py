"""The reference programs of the twins are the same, variant by variant."""
