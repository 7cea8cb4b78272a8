"""Many portraits or trainings from one table or folder: checked whole, made one after another, gone on with, reported.

``table`` reads what somebody wrote, ``rows`` understands it, ``pieces`` gives every portrait a key and a name,
``forecast`` tells what it will take, ``running`` makes it through the service's queue, ``contact_page`` and
``ledger`` tell what came of it. ``people_folders`` and ``training_run`` do the same for trainings.
"""
