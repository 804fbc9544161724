"""`python -m refundflow` is the same as `refundflow`."""

from refundflow.cli.main import main

if __name__ == "__main__":
    main()
