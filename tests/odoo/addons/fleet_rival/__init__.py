from . import controllers, models, registry
