"""Write the reference: python -m intermodal.reference [--check]."""

import sys

from rich.console import Console

from intermodal.reference.pages import main
from intermodal.runtime.errors import ConfigurationError

try:
    main(sys.argv[1:])
except ConfigurationError as error:
    Console(stderr=True).print(f"error: {error}", soft_wrap=True, markup=False)
    sys.exit(1)
