"""How a program is run for the verifier, and what is written down of the run."""
