"""The fake kernel: what a socket pair needs to be taken for /dev/cuse. Public as cuse.testing."""
