//! slabstash: a memcached-compatible cache daemon.
