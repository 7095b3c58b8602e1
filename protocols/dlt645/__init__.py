"""DL/T 645: the language of Chinese electricity meters. Nothing in here does I/O."""
