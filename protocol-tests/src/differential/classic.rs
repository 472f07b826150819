//! Classic commands, as clients send them.

use super::stream::{Batch, Command, Stream};

impl Stream {
    /// Adds a classic command.
    pub(super) fn classic(&mut self, batch: &mut Batch) {
        match self.random.below(100) {
            0..30 => self.fetch(batch),
            30..58 => self.store(batch),
            58..64 => self.compare_and_swap(batch),
            64..78 => self.count(batch),
            78..84 => self.touch(batch),
            84..92 => self.delete(batch),
            92..96 => self.sync(batch),
            _ => self.administer(batch),
        }
    }

    fn fetch(&mut self, batch: &mut Batch) {
        let verb = self.random.choose(&["get", "gets", "gat", "gats", "get", "gets"]);
        let mut command = Command::bytes(verb);
        if verb.starts_with("gat") {
            command.push(format!(" {}", self.exptime()));
        }
        let keys = match self.random.below(40) {
            0 => 30 + self.random.below(100),
            1..10 => 2 + self.random.below(8),
            _ => 1,
        };
        let mut bytes = 0;
        for _ in 0..keys {
            let key = self.key();
            bytes += key.len() + 3;
            // Of other lines than those of `get` and `gets` only so much may be unfinished, or the server closes: how the
            // line arrives would make a difference.
            if verb.starts_with("gat") && bytes > UNFINISHED_BYTES_MAX {
                break;
            }
            self.fetches(&key);
            command.push(if self.random.one_in(30) { "   " } else { " " });
            command.push(&key);
        }
        command.push(self.line_end());
        batch.commands.push(command);
    }

    fn store(&mut self, batch: &mut Batch) {
        let verbs = ["set", "set", "set", "set", "add", "replace", "append", "prepend"];
        let verb = verbs[self.random.below(verbs.len())];
        let key = self.key();
        let is_joined = verb.ends_with("pend");
        let value = match is_joined {
            true => {
                let length = self.random.below(200);
                self.value_of(length)
            }
            false => self.value(),
        };
        let mut command = Command::bytes(verb);
        command.push(" ");
        command.push(&key);
        command.push(format!(" {} {} {}", self.flags(), self.exptime(), value.len()));
        command.push(self.silence());
        self.finish_store(command, &value, batch);
    }

    fn compare_and_swap(&mut self, batch: &mut Batch) {
        let (key, value) = (self.key(), self.value());
        let mut command = Command::bytes("cas ");
        command.push(&key);
        command.push(format!(" {} {} {} ", self.flags(), self.exptime(), value.len()));
        let cas = self.cas_of(&key, false);
        command.pieces.push(cas);
        command.push(self.silence());
        self.finish_store(command, &value, batch);
    }

    /// Adds the end of a line and the data.
    pub(super) fn finish_store(&mut self, mut command: Command, value: &[u8], batch: &mut Batch) {
        command.push(self.line_end());
        command.push(value);
        command.push("\r\n");
        batch.commands.push(command);
    }

    fn count(&mut self, batch: &mut Batch) {
        let key = self.countable();
        if self.random.one_in(5) {
            let digits = self.digits();
            let mut command = Command::bytes("set ");
            command.push(&key);
            command.push(format!(" {} {} {}", self.flags(), self.exptime(), digits.len()));
            return self.finish_store(command, digits.as_bytes(), batch);
        }
        self.counts(&key, batch);
        let mut command = Command::bytes(if self.random.one_in(2) { "incr " } else { "decr " });
        command.push(&key);
        command.push(format!(" {}", self.digits()));
        command.push(self.silence());
        command.push(self.line_end());
        batch.commands.push(command);
    }

    fn touch(&mut self, batch: &mut Batch) {
        let mut command = Command::bytes("touch ");
        let key = self.key();
        self.fetches(&key);
        command.push(&key);
        command.push(format!(" {}", self.exptime()));
        command.push(self.silence());
        command.push(self.line_end());
        batch.commands.push(command);
    }

    fn delete(&mut self, batch: &mut Batch) {
        let mut command = Command::bytes("delete ");
        command.push(self.key());
        if self.random.one_in(10) {
            command.push(" 0");
        }
        command.push(self.silence());
        command.push(self.line_end());
        batch.commands.push(command);
    }

    /// Commands about the server.
    fn administer(&mut self, batch: &mut Batch) {
        let line = ADMIN[self.random.below(ADMIN.len())];
        batch.commands.push(Command::bytes(format!("{line}\r\n")));
    }

    fn silence(&mut self) -> &'static str {
        if self.random.one_in(12) { " noreply" } else { "" }
    }

    pub(super) fn line_end(&mut self) -> &'static str {
        match self.random.below(60) {
            0 => "\n",
            1 => " \r\n",
            _ => "\r\n",
        }
    }
}

/// Bytes of an unfinished line that no server minds.
const UNFINISHED_BYTES_MAX: usize = 1900;

/// Commands that take effect at once and leave the items alone.
const ADMIN: [&str; 14] = [
    "version",
    "verbosity 0",
    "verbosity 0 noreply",
    "cache_memlimit 1024",
    "cache_memlimit 1000 noreply",
    "lru tune 20 40 0.2 2.0",
    "lru tune 50 40 0.2 2.0",
    "slabs automove 0",
    "slabs automove ratio 0.8",
    "slabs automove window 30",
    "lru_crawler sleep 100",
    "lru_crawler tocrawl 0",
    "lru temp_ttl -1",
    "stats detail off",
];
