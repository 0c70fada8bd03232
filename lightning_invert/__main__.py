"""``python -m lightning_invert``: the command ``lightning-invert``."""

from lightning_invert.cli.main import main

if __name__ == "__main__":
    main()
