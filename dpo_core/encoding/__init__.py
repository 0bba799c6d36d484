"""Token ids of preference pairs: chat templates, truncation, special tokens and packed rows."""
