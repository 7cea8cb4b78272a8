"""``python -m easyphoto`` from any folder: modules are looked for beside this file, and not where you happen to be.

python FOLDER/run.py COMMAND
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("easyphoto", run_name="__main__")
