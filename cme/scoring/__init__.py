"""Log-likelihoods of responses under a frozen verifier or under the policy."""
