"""The built-in policies: one small file per plug-in point, and `presets` that compose them."""
