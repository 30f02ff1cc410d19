"""Correct pairs: one realistic program each, written in both frameworks, and the cases to verify it on.

Every top-level `Case` of a file here must be found "same". Mistakes are made in copies of these files.
"""
