"""A fit in the hands of other libraries: a scikit-learn estimator, a DataTree for ArviZ."""
