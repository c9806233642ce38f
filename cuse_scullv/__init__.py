"""scullv, the memory character device of LDD3, served from user space through CUSE."""

__version__ = "0.1.0"
