"""Clips in and out of files: ``decoding`` streams the upright frames of a video, an animated picture or a folder at an
even rate, ``encoding`` writes frames as they come, with the sound of the clip that they were made from, and ``tone``
brings high dynamic range to eight bits. No clip is ever held whole, but for what becomes a GIF or a WebP.

Videos need the package ``av``, which carries FFmpeg and needs no program beside it.
"""
