"""``python -m rawbert``, and the console script."""

import os
import signal

# On Ctrl-C while the libraries load, end at once: there is nothing to clean up yet, and a traceback would not help.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))

from rawbert.serving.cli import main

if __name__ == "__main__":
    main()
