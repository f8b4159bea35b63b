"""`python -m emohelpers`: see `cli`."""

import sys

from emohelpers.cli import main

sys.exit(main())
