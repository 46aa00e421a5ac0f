"""What the supervisor and its processes say to each other through pipes.

A process says ``(READY, digest)`` or ``(FAILED, message)``. It is told `RELOAD`. The end of its
pipe tells it to stop.
"""

READY = "ready"
FAILED = "failed"
RELOAD = "reload"
