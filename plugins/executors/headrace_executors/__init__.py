"""The executors and runners that ship with Headrace."""
