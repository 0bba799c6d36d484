"""Many trials, one winner: Ray Tune with Optuna over Ray Train, and the records they leave."""
