"""What Python programs call, and the commands too: scenes, tile sets, models and results."""

import os

CORES = min(4, os.cpu_count() or 1)
