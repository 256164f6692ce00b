"""The event dispatchers that ship with Headrace, each a plugin that its entry point names."""
