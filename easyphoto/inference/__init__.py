"""Portraits: from templates and trained people to finished pictures with their likeness and their recipe."""
