"""`python -m vitrail`, which is also what `torchrun -m vitrail` starts."""

from vitrail.cli import main

if __name__ == "__main__":
    main()
