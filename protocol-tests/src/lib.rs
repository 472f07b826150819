//! Black-box tests of slabstash.
