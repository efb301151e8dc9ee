"""Many workers for one job: keyed items in, results out in the same order, on a cluster of Ray or in this process."""

from sparring.pool.items import Here, Item, Lost, LostError, Mapper, content_key
from sparring.pool.settings import PoolSettings

__all__ = ["Here", "Item", "Lost", "LostError", "Mapper", "PoolSettings", "content_key"]
