"""What an edit leaves in the embeddings, and what it takes to undo it there."""
