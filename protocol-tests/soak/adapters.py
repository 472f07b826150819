"""One way to call the real clients: what `worker.py` needs, and nothing that a client does not have.

Every adapter speaks bytes. `get` returns None for a miss; `gets` None or a value with its token; `cas` True, False for
an old token, None for a miss; `incr` None for a miss; `touch` and `delete` whether the key was there. A call that a
client lacks is None, and the worker leaves that operation out. Anything else that goes wrong is an exception.
"""

import gc
import ssl


class Adapter:
    """The calls that may be missing."""

    append = None
    cas = None
    flush = None
    gets = None
    incr = None
    touch = None


class Pymemcache(Adapter):
    """pymemcache: the text protocol, in the clear or over TLS."""

    is_encrypted = False

    def __init__(self, server):
        from pymemcache.client.base import Client

        context = None
        if self.is_encrypted:
            context = ssl.create_default_context(cafile=server.authority)
        port = server.tls_port if self.is_encrypted else server.port
        name = "localhost" if self.is_encrypted else "127.0.0.1"
        self.client = Client((name, port), timeout=10, connect_timeout=10, default_noreply=False, no_delay=True,
                             tls_context=context)
        self.get = self.client.get
        self.get_many = self.client.get_many
        self.delete = self.client.delete
        self.append = self.client.append
        self.incr = self.client.incr
        self.touch = self.client.touch
        self.cas = self.client.cas
        self.flush = self.client.flush_all
        self.close = self.client.close

    def set(self, key, value, seconds):
        return self.client.set(key, value, expire=seconds)

    def gets(self, key):
        value, token = self.client.gets(key)
        return None if value is None else (value, token)


class PymemcacheTls(Pymemcache):
    is_encrypted = True


class Pylibmc(Adapter):
    """pylibmc: libmemcached under Python, over text or binary."""

    is_binary = False

    def __init__(self, server):
        import pylibmc

        self.not_found = pylibmc.NotFound
        self.data_exists = pylibmc.DataExists
        # _poll_timeout: over binary this libmemcached waits in vain for more after the answer to a touch that hit.
        self.client = pylibmc.Client([f"127.0.0.1:{server.port}"], binary=self.is_binary, behaviors={
            "tcp_nodelay": True, "cas": True, "_poll_timeout": 10000})
        self.get = self.client.get
        self.get_many = self.client.get_multi
        self.append = self.client.append
        self.flush = self.client.flush_all
        self.close = self.client.disconnect_all
        if not self.is_binary:
            self.touch = self.quiet_touch

    def set(self, key, value, seconds):
        return self.client.set(key, value, time=seconds)

    def delete(self, key):
        try:
            return self.client.delete(key)
        except self.not_found:
            return False

    def gets(self, key):
        value, token = self.client.gets(key)
        return None if value is None else (value, token)

    def cas(self, key, value, token):
        try:
            return bool(self.client.cas(key, value, token))
        except self.not_found:
            return None
        except self.data_exists:
            return False

    def incr(self, key, amount):
        try:
            return self.client.incr(key, amount)
        except self.not_found:
            return None

    def quiet_touch(self, key, seconds):
        try:
            return self.client.touch(key, seconds)
        except self.not_found:
            return False


class PylibmcBinary(Pylibmc):
    is_binary = True


class Bmemcached(Adapter):
    """python-binary-memcached: the binary protocol in pure Python."""

    MISSING = 1 << 40

    def __init__(self, server):
        import bmemcached

        self.client = bmemcached.Client([f"127.0.0.1:{server.port}"], socket_timeout=10)
        self.get_many = self.client.get_multi
        self.close = self.client.disconnect_all

    def set(self, key, value, seconds):
        return self.client.set(key, value, time=seconds, compress_level=0)

    def get(self, key):
        return self.client.get(key)

    def delete(self, key):
        # It says True for a miss as well.
        self.client.delete(key)

    def gets(self, key):
        value, token = self.client.gets(key)
        return None if value is None else (value, token)

    def cas(self, key, value, token):
        # It does not say why it was not stored.
        return bool(self.client.cas(key, value, token, compress_level=0))

    def incr(self, key, amount):
        # A missing counter is made with the default.
        value = self.client.incr(key, amount, default=self.MISSING)
        return None if value >= self.MISSING else value

    def flush(self):
        return self.client.flush_all()


class MetaMemcache(Adapter):
    """meta-memcache: the meta commands."""

    def __init__(self, server):
        from meta_memcache import CacheClient, ServerAddress, connection_pool_factory_builder

        # Its read buffer is the socket's receive buffer as well; with 4 KiB, its default, any server's large values come
        # with pauses of 0.2 seconds.
        pools = connection_pool_factory_builder(connection_timeout=10, recv_timeout=10, read_buffer_size=1 << 18)
        self.client = CacheClient.cache_client_from_servers(
            servers=[ServerAddress(host="127.0.0.1", port=server.port)],
            connection_pool_factory_fn=pools)
        self.get = self.client.get
        self.delete = self.client.delete

    def set(self, key, value, seconds):
        return self.client.set(key, value, ttl=seconds)

    def get_many(self, keys):
        found = self.client.multi_get(keys)
        return {key.key: value for key, value in found.items() if value is not None}

    def gets(self, key):
        value, token = self.client.get_cas(key)
        return None if value is None else (value, token)

    def cas(self, key, value, token):
        # It does not say why it was not stored.
        return self.client.set(key, value, ttl=0, cas_token=token)

    def incr(self, key, amount):
        return self.client.delta_and_get(key, amount)

    def touch(self, key, seconds):
        return self.client.touch(key, ttl=seconds)

    def close(self):
        # Its pool has no other way; the sockets are closed with it.
        self.__dict__.clear()
        gc.collect()


ADAPTERS = {
    "pymemcache": Pymemcache,
    "pymemcache-tls": PymemcacheTls,
    "pylibmc": Pylibmc,
    "pylibmc-binary": PylibmcBinary,
    "python-binary-memcached": Bmemcached,
    "meta-memcache": MetaMemcache,
}
