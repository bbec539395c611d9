"""``python -m rawbert``, and the console script."""

import os
import signal

# Ctrl-C while the libraries load: there is nothing to take down yet, and no traceback to show.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))

from rawbert.serving.cli import main

if __name__ == "__main__":
    main()
