"""EasyPhoto inside a Stable Diffusion WebUI of one of its dialects. Only this package imports the WebUI's modules."""
