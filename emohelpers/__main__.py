"""`python -m emohelpers`: see `cli`."""

import sys

from emohelpers.suite.cli import main

sys.exit(main())
