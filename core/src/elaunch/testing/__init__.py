"""The plugin author's kit: contract suites to inherit from."""
