"""Deliberate mistakes: does the verifier see them, and does its own damage show?"""
