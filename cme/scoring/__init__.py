"""Log-likelihoods of responses under a frozen model or the policy."""
