"""Every way to train, timed in turns on this machine, and which one to pick."""
