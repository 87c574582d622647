"""What can be asked of a store, one function a request, each given its caller. Every front joins here."""

from udfstore.service.register import Register
from udfstore.service.service import Service
from udfstore.service.tasks import Live, Tasks

__all__ = ["Live", "Register", "Service", "Tasks"]
