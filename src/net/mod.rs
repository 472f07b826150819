//! Layer 4: sockets, threads and buffers. Knows nothing of what a command means.
