"""Training of the reference programs: the trainer, its loop, and many fits at once."""
