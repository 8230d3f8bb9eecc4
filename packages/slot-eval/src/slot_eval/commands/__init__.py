"""The commands of ``slot-eval``, one file each."""
