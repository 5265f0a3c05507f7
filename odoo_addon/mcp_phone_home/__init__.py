from . import models
from .hooks import post_init_hook
from .tools import fleet
