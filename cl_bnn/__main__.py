"""`python -m cl_bnn` is `cl-bnn`."""

import sys

from cl_bnn.cli import main

sys.exit(main())
