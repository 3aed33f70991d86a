"""What every function imports first; knows no function."""

import gc

# A start makes objects and drops hardly any, so looking for garbage among them is for nothing:
# 60 M instructions. `mangum_handler` turns the collector on again.
gc.disable()
