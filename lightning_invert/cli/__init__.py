"""The ``lightning-invert`` command, one file a command."""
