"""`python -m cuse_scullv`: the command line."""

from cuse_scullv.cli import main

if __name__ == "__main__":
    main()
