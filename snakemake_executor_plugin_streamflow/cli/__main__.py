"""`python -m snakemake_executor_plugin_streamflow.cli`."""

import sys

from . import main

sys.exit(main())
