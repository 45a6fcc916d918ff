import sys

from ann2snn.cli import main

sys.exit(main())
