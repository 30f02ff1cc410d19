"""`CompiledSVI`: steps of a user's SVI captured as a graph, guarded, and compiled."""
