"""The monitors that ship with Headrace, each a plugin that its entry point names."""
