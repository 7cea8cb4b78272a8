"""What ``tools/gpu_check.py`` has measured on a graphics card, by its process ``python -m benchmarks.card``."""
