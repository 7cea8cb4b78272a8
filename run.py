"""Run ``python -m easyphoto`` from any folder. Modules are looked for beside this file, and not in the current folder.

python FOLDER/run.py COMMAND
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("easyphoto", run_name="__main__")
