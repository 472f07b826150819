//! A plain blocking connection, for what is not a load: version, statistics, storing more than fits, and which of some
//! items are held.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::source::{Source, Step, Stored};

/// The connection.
pub struct Control {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Control {
    /// Connects; a server that says nothing for some seconds is an error of every question.
    pub fn connect(address: SocketAddr) -> io::Result<Control> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Control { stream: BufReader::new(stream), line: String::new() })
    }

    /// What the server calls itself.
    pub fn version(&mut self) -> io::Result<String> {
        self.ask(b"version\r\n")?;
        let line = self.read_line()?;
        let version = line.strip_prefix("VERSION ").map(str::to_string);
        version.ok_or_else(|| unexpected(&self.line))
    }

    /// The general statistics.
    pub fn stats(&mut self) -> io::Result<HashMap<String, String>> {
        self.ask(b"stats\r\n")?;
        let mut stats = HashMap::new();
        loop {
            let line = self.read_line()?;
            if line == "END" {
                return Ok(stats);
            }
            let fields = line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' '));
            let (name, value) = fields.ok_or_else(|| unexpected(line))?;
            stats.insert(name.to_string(), value.to_string());
        }
    }

    /// One statistic as a number.
    pub fn stat(&mut self, name: &str) -> io::Result<u64> {
        let stats = self.stats()?;
        let value = stats.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no statistic {name}")))
    }

    /// Whether an item is held; if so, its value must be the right one.
    pub fn holds(&mut self, data: &Data, id: u64) -> io::Result<bool> {
        let mut request = b"mg ".to_vec();
        data.write_key(id, &mut request);
        request.extend_from_slice(b" v\r\n");
        self.ask(&request)?;
        if self.read_line()? == "EN" {
            return Ok(false);
        }
        let mut expected = Vec::new();
        data.write_value(id, &mut expected);
        if self.line != format!("VA {}", expected.len()) {
            return Err(unexpected(&self.line));
        }
        expected.extend_from_slice(b"\r\n");
        let mut value = vec![0; expected.len()];
        self.stream.read_exact(&mut value)?;
        match value == expected {
            true => Ok(true),
            false => Err(unexpected("another item's value")),
        }
    }

    /// Stores items, many at once, and returns how many the server refused for want of memory.
    pub fn store(&mut self, data: &Data, ids: Range<u64>) -> io::Result<u64> {
        let mut source = Stored { data: *data, ids };
        let mut batch = Batch::default();
        let mut refused = 0;
        while source.fill(0, &mut batch) == Step::Send {
            self.ask(&batch.request)?;
            for _ in 0..batch.operations {
                match self.read_line()? {
                    "STORED" => {}
                    OUT_OF_MEMORY => refused += 1,
                    other => return Err(unexpected(other)),
                }
            }
        }
        Ok(refused)
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(request)
    }

    fn read_line(&mut self) -> io::Result<&str> {
        self.line.clear();
        self.stream.read_line(&mut self.line)?;
        match self.line.strip_suffix("\r\n").map(str::len) {
            Some(length) => self.line.truncate(length),
            None => return Err(unexpected(&self.line)),
        }
        Ok(&self.line)
    }
}

fn unexpected(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer \"{}\"", line.escape_debug()))
}

const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory storing object";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Connects to a server that sends these bytes and listens to nothing.
    fn control(answer: &'static [u8]) -> Control {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        Control::connect(address).unwrap()
    }

    #[test]
    fn answers() {
        assert_eq!(control(b"VERSION 1.6.45\r\n").version().unwrap(), "1.6.45");
        let stats = b"STAT pid 7\r\nSTAT version a b\r\nEND\r\n";
        assert_eq!(control(stats).stat("pid").unwrap(), 7);
        assert_eq!(control(stats).stats().unwrap()["version"], "a b");
        assert!(control(stats).stat("version").is_err());
        assert!(control(stats).stat("nothing").is_err());
        assert!(control(b"ERROR\r\n").version().is_err());
        assert!(control(b"ERROR\r\n").stats().is_err());
    }

    #[test]
    fn refused_sets_are_counted_and_other_answers_are_errors() {
        let data = Data::short(10, 10);
        let some = b"STORED\r\nSERVER_ERROR out of memory storing object\r\nSTORED\r\n";
        assert_eq!(control(some).store(&data, 0..3).unwrap(), 1);
        assert!(control(b"STORED\r\nERROR\r\n").store(&data, 0..2).is_err());
    }

    #[test]
    fn only_the_right_value_is_held() {
        let data = Data::short(10, 3);
        assert!(!control(b"EN\r\n").holds(&data, 1).unwrap());
        assert!(control(b"VA 3\r\nxxx\r\n").holds(&data, 1).is_err());
        assert!(control(b"VA 4\r\nxxxx\r\n").holds(&data, 1).is_err());
    }
}
