"""The paper's claims as data, the measures that test them, and the rules that decide."""
