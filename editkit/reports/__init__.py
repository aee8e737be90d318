"""Results of evaluations: their schema, where they are kept, how they are read, listed and exported. No torch here."""
