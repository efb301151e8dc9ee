"""Models: loading, prompting, sampling and scoring; code here knows tokens and tensors, and neither games nor oracles."""

TINY_POLICY = "tiny-chain-policy"
"""Name under which the policy that ships with the package can be given wherever a model folder is expected."""
