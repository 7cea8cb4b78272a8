"""The queue that survives: requests, their pictures, events and results below the data folder.

``port`` says what a request is and who works on it; read it first.
"""
