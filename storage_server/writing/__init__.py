"""The write protocol: intent, sidecar, row; and what a crash left of one."""
