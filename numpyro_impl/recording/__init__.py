"""How a program is run for the verifier or evaluated, and what is written down of the run."""
