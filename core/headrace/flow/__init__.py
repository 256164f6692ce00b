"""Flow control as plain state machines: no thread, no clock of their own, no I/O; time is an argument."""
