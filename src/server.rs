//! Layer 5: start, signals, ordered stop.
