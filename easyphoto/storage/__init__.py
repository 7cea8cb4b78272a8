"""Everything that is on disk and its names: how files are written, where a person's files lie, how people travel.

``files`` writes whole or not at all, ``names`` says what a person may be called, ``folders`` where each file lies,
``locks`` who may write, ``scratch`` gives folders that go with the process that made them, ``swap`` puts many pieces in
place as one, ``archive`` reads and writes shared people, ``uploads`` keeps what came through a browser,
``portraits`` finds the pictures of a person, and ``triggers`` are the words that wake a LoRA.
"""
