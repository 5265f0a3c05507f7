import functools

from .services.background import register_in_background


def post_init_hook(env):
    """Register once the install is committed: one that is rolled back was never heard of."""
    env.cr.postcommit.add(functools.partial(register_in_background, env.registry))
