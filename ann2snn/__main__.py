"""`python -m ann2snn`, and the command `ann2snn`."""

from ann2snn import interrupts

interrupts.exit_on_interrupt()  # before anything else is imported

import sys  # noqa: E402

from ann2snn.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
