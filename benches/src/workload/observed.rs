//! What it costs to be observed: the load of another workload on a server with the admin listener, whose `/metrics` are read
//! once a second, and on the same server without. In each round both get the load, in turns the one and the other first;
//! the figures of the row are those of the observed one.
//!
//! A server without an admin listener, memcached for instance, has the usual figures and no ratio.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::metric::{Metric, Sample, cost};
use crate::server::{Binary, Server, Shape, free_address};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Round, Workload, get};

/// One get at a time per connection.
pub fn one(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(Observed { load: get::ones(parameters), twins: Vec::new(), rounds: 0 })
}

/// Many on the way per connection.
pub fn pipelined(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(Observed { load: get::pipelines(parameters), twins: Vec::new(), rounds: 0 })
}

struct Observed {
    load: Closed,
    /// The observed servers.
    twins: Vec<Twin>,
    rounds: u64,
}

struct Twin {
    /// What the server that it is compared with was started from.
    plain: Binary,
    server: Server,
    admin: SocketAddr,
}

impl Workload for Observed {
    fn shape(&self) -> Shape {
        self.load.shape()
    }

    fn prepare(&mut self, servers: &[Server], round: &Round) -> Result<(), Error> {
        self.load.prepare(servers, round)?;
        for server in servers.iter().filter(|server| has_admin_listener(&server.binary)) {
            let admin = free_address()?;
            let mut binary = server.binary.clone();
            binary.arguments.extend(["-o".to_string(), format!("admin_listen={admin}")]);
            let twin = Server::start(&binary, &self.load.shape(), &round.placement)?;
            self.load.prepare(std::slice::from_ref(&twin), round)?;
            self.twins.push(Twin { plain: server.binary.clone(), server: twin, admin });
        }
        Ok(())
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let Some(twin) = self.twins.iter().find(|twin| twin.plain == server.binary) else {
            return self.load.round(server, round);
        };
        self.rounds += 1;
        let (plain, mut sample) = match self.rounds.is_multiple_of(2) {
            true => (self.load.round(server, round)?, twin.round(&mut self.load, round)?),
            false => {
                let sample = twin.round(&mut self.load, round)?;
                (self.load.round(server, round)?, sample)
            }
        };
        if let (Some(observed), Some(plain)) = (cost(&sample), cost(&plain)) {
            sample.insert(Metric::ObservedCost, observed / plain);
        }
        Ok(sample)
    }
}

impl Twin {
    /// A round while its metrics are read.
    fn round(&self, load: &mut Closed, round: &Round) -> Result<Sample, Error> {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let scraper = scope.spawn(move || -> Result<(), Error> {
                loop {
                    scrape(self.admin).map_err(Error::system("read the server's metrics"))?;
                    if is_done.recv_timeout(SCRAPE_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                        return Ok(());
                    }
                }
            });
            let sample = load.round(&self.server, round);
            drop(done);
            scraper.join().expect("the scraper returns its errors")?;
            sample
        })
    }
}

/// Reads `/metrics`.
fn scrape(admin: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(std::io::Error::other("its answer is none")),
    }
}

/// Whether the program's help speaks of one.
fn has_admin_listener(binary: &Binary) -> bool {
    let output = Command::new(&binary.path).arg("--help").stdin(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("admin_listen"))
}

const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
