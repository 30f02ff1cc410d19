"""Which model and guide to take: held-out evidence by components, trial fits by covariance and backend."""
