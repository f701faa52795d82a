"""Tests without the kernel's help: pure functions, fixture trees, pipes and fakes."""
