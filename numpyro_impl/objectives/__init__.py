"""What is minimised: losses, estimators of their gradients, and the exact evaluation of a fit."""
