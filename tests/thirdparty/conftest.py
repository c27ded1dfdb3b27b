"""The packages in here are tested where they are installed, by ``test_example_plugin.py``."""

collect_ignore_glob = ["*"]
