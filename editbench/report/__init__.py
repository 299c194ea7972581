"""Static pages: boards, the gallery of a run, the overlays of a suite. They open from disk and request nothing."""
