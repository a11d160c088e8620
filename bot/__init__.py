"""The running process: wiring only, no rules."""

#: The same as in pyproject.toml; here too because units run the checkout, which is not installed as a package.
__version__ = "0.1.0"
