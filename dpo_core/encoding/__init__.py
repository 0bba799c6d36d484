"""Preference pairs become token ids: templates, truncation, special tokens, packed rows."""
