"""What can be asked of a store, one function a request, each given its caller. Every front joins here."""

from udfstore.service.meters import Meters
from udfstore.service.register import Register
from udfstore.service.service import Service
from udfstore.service.tasks import Live, Tasks
from udfstore.store.meters import Histogram

__all__ = ["Histogram", "Live", "Meters", "Register", "Service", "Tasks"]
