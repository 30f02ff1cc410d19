"""What is minimised: losses, estimators of their gradients, sticking the landing, blocks of items."""
