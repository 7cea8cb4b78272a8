"""Everything that is on disk, and its names: how files are written, where a person's files lie, and how people travel.

``files`` writes a file whole or not at all, ``names`` says what a person may be called, ``folders`` knows where each
file lies, and ``headers`` reads what a safetensors file holds. ``locks`` says who may write, ``scratch`` gives folders
that are removed with the process that made them, ``swap`` puts many pieces in place as one, and ``earlier`` keeps what
an interrupted training goes on from. ``archive`` reads and writes shared people, ``uploads`` keeps what came through a
browser, ``portraits`` finds the pictures of a person, and ``triggers`` holds the words that wake a LoRA.
"""
