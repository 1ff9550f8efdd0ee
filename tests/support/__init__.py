"""What several test files share: matrix families, and one way to drive every framework."""
