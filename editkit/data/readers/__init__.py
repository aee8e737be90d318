"""Readers of what data sets are stored in: tables, folders, shards, Parquet, videos, the hub."""
