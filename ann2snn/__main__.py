"""`python -m ann2snn`, and the command `ann2snn`."""

from ann2snn import interrupts

interrupts.end_process()  # before anything else is imported

import sys  # noqa: E402

from ann2snn.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
