"""What fits came to, for people who look: gaps, calibration, agreement, and one page on them all."""
