//! Layer 5: the command line as one table.
