"""An edit as a value: changes, applied and reverted byte by byte, with record and card. No torch."""
