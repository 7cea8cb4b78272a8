"""The same jobs on several machines, by Ray: ``--ray [ADDRESS]``.

The program that was started is the head: it has the queue, the people and the portraits. Workers, one a card or one a
share of the CPUs, keep an engine warm and do one request after another. ``ray_runner`` is the queue's ``Runner``, and
whoever wants one asks :func:`easyphoto.fleet.ray_runner.started`. ``cluster`` alone imports Ray, at its first use.
"""
