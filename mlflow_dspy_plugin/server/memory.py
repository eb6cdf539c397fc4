"""The garbage collector of a server's process, which else looks again and again through what stays anyway."""

import gc

# Objects that are new when it looks; a request makes some ten thousand, nearly all of which go by themselves.
_NEW = 50_000


def settle_memory() -> None:
    """Take what is there by now, modules and models, for what stays, and look less often for what does not."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
