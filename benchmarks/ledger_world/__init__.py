"""The ledger world: a world of one's own, which becomes a `task` of the package where this module is imported."""

from sparring.worlds.world import WORLDS

WORLDS["ledger"] = "ledger_world.world:Ledger"
