"""`CompiledSVI`: steps of a user's SVI recorded, guarded, and replayed or compiled."""
