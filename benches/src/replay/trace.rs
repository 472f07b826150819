//! A trace: requests for numbered keys. Read from a CSV file `time,key,size,op,ttl` with a head line, plain or packed by
//! zstd (unpacked by the program of that name), or generated.
//!
//! `time` is in seconds; `key` a dense number in order of first appearance; `size` bytes of key and value, 1 where the
//! source has no sizes; `op` is `get` or `set`; `ttl` in seconds, 0 for none.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::random::Random;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Seconds since the trace began.
    pub time: u32,
    /// Dense number of the key.
    pub key: u32,
    /// Seconds to live of what is stored on a miss or by a set, 0 for ever.
    pub ttl: u32,
    /// A set rather than a get.
    pub is_set: bool,
}

/// Requests in order, and what is known of the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The requests.
    pub requests: Vec<Request>,
    /// Bytes of key and value by key, as of the key's first request; 1 where the source has no sizes.
    pub sizes: Vec<u32>,
}

impl Trace {
    /// Reads at most `requests_max` requests of a file; `.zst` files through `zstd`.
    pub fn read(path: &Path, requests_max: usize) -> io::Result<Trace> {
        if path.extension().is_none_or(|extension| extension != "zst") {
            return Trace::parse(File::open(path)?, requests_max);
        }
        // For its error: zstd's own would only reach the terminal.
        File::open(path)?;
        let mut zstd = Command::new("zstd")
            .args(["-dcq", "--long=27"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("run zstd to unpack it: {error}")))?;
        let output = zstd.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let trace = Trace::parse(output, requests_max);
        // When enough was read, zstd ends by its closed pipe, which is no failure.
        let status = zstd.wait()?;
        match trace {
            Ok(trace) if trace.requests.len() < requests_max && !status.success() => Err(io::Error::other(format!(
                "zstd failed to unpack it ({status}), after {} lines",
                trace.requests.len()
            ))),
            other => other,
        }
    }

    /// Reads at most `requests_max` lines of CSV.
    pub fn parse(text: impl Read, requests_max: usize) -> io::Result<Trace> {
        let mut lines = BufReader::with_capacity(1 << 20, text);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if line.trim_end() != HEAD {
            return Err(invalid(1, &line));
        }
        let mut trace = Trace::default();
        while trace.requests.len() < requests_max {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                break;
            }
            let number = trace.requests.len() + 2;
            let (request, size) = parse_line(line.trim_end()).ok_or_else(|| invalid(number, &line))?;
            let key = request.key as usize;
            if key > trace.sizes.len() {
                return Err(invalid(number, &line));
            }
            if key == trace.sizes.len() {
                trace.sizes.push(size);
            }
            trace.requests.push(request);
        }
        Ok(trace)
    }

    /// A trace for want of a file: keys of a skewed popularity, and among them many that are asked for once, as in the
    /// caches of web sites. The same for the same numbers.
    pub fn generate(requests: usize, popular_keys: u64) -> Trace {
        let mut random = Random::new(requests as u64);
        let mut numbers = vec![u32::MAX; popular_keys as usize];
        let mut trace = Trace::default();
        for index in 0..requests {
            let is_popular = random.below(5) > 0;
            // The logarithm of the rank is uniform: a Zipf distribution of exponent 1.
            let rank = (popular_keys as f64).powf(1.0 - random.fraction()) as usize;
            let known = if is_popular { numbers[rank.min(numbers.len() - 1)] } else { u32::MAX };
            let key = if known == u32::MAX { trace.sizes.len() as u32 } else { known };
            if known == u32::MAX {
                trace.sizes.push(1);
                if is_popular {
                    numbers[rank.min(popular_keys as usize - 1)] = key;
                }
            }
            trace.requests.push(Request { time: (index / 1000) as u32, key, ttl: 0, is_set: false });
        }
        trace
    }
}

fn parse_line(line: &str) -> Option<(Request, u32)> {
    let mut fields = line.split(',');
    let mut number = || fields.next()?.parse::<u32>().ok();
    let (time, key, size) = (number()?, number()?, number()?);
    let is_set = match fields.next()? {
        "get" => false,
        "set" => true,
        _ => return None,
    };
    let ttl = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some((Request { time, key, ttl, is_set }, size.max(1)))
}

fn invalid(number: usize, line: &str) -> io::Error {
    let line = line.trim_end().escape_debug();
    io::Error::new(ErrorKind::InvalidData, format!("line {number} is not of the form {HEAD}: \"{line}\""))
}

const HEAD: &str = "time,key,size,op,ttl";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Trace, String> {
        Trace::parse(text.as_bytes(), 3).map_err(|error| error.to_string())
    }

    #[test]
    fn lines() {
        let trace = parse("time,key,size,op,ttl\n0,0,700,get,0\n1,1,1,set,60\n1,0,9,get,0\n5,0,9,get,0\n").unwrap();
        assert_eq!(trace.sizes, [700, 1]);
        assert_eq!(trace.requests.len(), 3);
        assert_eq!(trace.requests[1], Request { time: 1, key: 1, ttl: 60, is_set: true });
    }

    #[test]
    fn refused() {
        #[track_caller]
        fn check(text: &str, line: usize) {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(&format!("line {line} ")), "{problem}");
        }
        check("", 1);
        check("0,0,1,get,0\n", 1);
        for bad in ["", "0,0,1,get", "0,0,1,get,0,0", "0,0,1,delete,0", "x,0,1,get,0", "0,1,1,get,0", "-1,0,1,get,0"] {
            check(&format!("time,key,size,op,ttl\n{bad}\n"), 2);
        }
    }

    #[test]
    fn files_are_plain_or_packed_or_missing() {
        let folder = std::env::temp_dir().join(format!("slabstash-bench-trace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let plain = folder.join("t.csv");
        std::fs::write(&plain, "time,key,size,op,ttl\n0,0,1,get,0\n").unwrap();
        assert_eq!(Trace::read(&plain, 9).unwrap().requests.len(), 1);
        assert_eq!(Trace::read(&folder.join("none.csv.zst"), 9).unwrap_err().kind(), ErrorKind::NotFound);
        let broken = folder.join("broken.csv.zst");
        std::fs::write(&broken, "this is no zstd").unwrap();
        assert!(Trace::read(&broken, 9).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_generated_trace_is_dense_and_repeats() {
        let trace = Trace::generate(10_000, 1000);
        let mut seen = 0;
        for request in &trace.requests {
            assert!(request.key <= seen);
            seen = seen.max(request.key + 1);
        }
        assert_eq!(trace.sizes.len(), seen as usize);
        assert!((2000..4000).contains(&seen), "{seen} keys");
        assert_eq!(trace, Trace::generate(10_000, 1000));
    }
}
