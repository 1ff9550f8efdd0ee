"""Shared by the tests: families of matrices, references, and one way to call every framework."""
