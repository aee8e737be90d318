"""What an edit did: evaluations, their statistics and controls, and how they are run; captions and judges below."""
