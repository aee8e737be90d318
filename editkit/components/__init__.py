"""The plugin contract: sites, specs, hooks, protocols, the values they exchange, and the host that finds components."""
