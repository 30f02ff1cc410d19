"""`CompiledSVI`: many steps of a user's SVI as one compiled loop."""
