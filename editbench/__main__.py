"""`python -m editbench` is the `editbench` program."""

from editbench.cli import main

if __name__ == "__main__":
    main()
