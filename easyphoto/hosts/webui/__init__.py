"""EasyPhoto inside a Stable Diffusion WebUI: AUTOMATIC1111, Forge or reForge. Only this package imports its modules."""
