"""`python -m allocator` is the `allocator` command."""

import sys

from allocator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
