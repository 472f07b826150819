//! The same loads as elsewhere over encrypted connections: what TLS costs the server. The items are stored in the clear,
//! on another port of the same server.
//!
//! The client is a closed loop in one thread, that of [`crate::load::client`], with rustls between socket and batch. It takes
//! any certificate and never resumes a session. Handshakes of kept connections are made before the meter runs.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Poll;
use mio::event::Event;
use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::client::{Lifetime, Link, Outcome, drive, open};
use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Repeated, Source, Step};
use crate::load::source_address::SourceAddresses;
use crate::metric::Sample;
use crate::server::meter::Meter;
use crate::server::{Server, Shape};
use crate::workload::closed::{Closed, MakeSource, fill};
use crate::workload::{Parameters, Round, Workload, sample};

/// 50 connections, one get each.
pub fn one(parameters: &Parameters) -> Box<dyn Workload> {
    gets(parameters, 50, 1, Lifetime::Kept)
}

/// 20 connections, 50 gets each.
pub fn pipelined(parameters: &Parameters) -> Box<dyn Workload> {
    gets(parameters, 20, 50, Lifetime::Kept)
}

/// A handshake for each get.
pub fn connect_get_close(parameters: &Parameters) -> Box<dyn Workload> {
    gets(parameters, 8, 1, Lifetime::PerBatch)
}

/// Large values out.
pub fn get_64k(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, request::get)
}

/// Large values in.
pub fn set_64k(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, request::set)
}

fn gets(parameters: &Parameters, connections: usize, depth: u64, lifetime: Lifetime) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let depth = parameters.depth_or(depth);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            for _ in 0..depth {
                request::get(&data, random.below(data.keys), batch);
            }
        }))
    };
    encrypted(data, parameters.connections_or(connections), Box::new(source), lifetime)
}

fn large(parameters: &Parameters, request: fn(&Data, u64, &mut Batch)) -> Box<dyn Workload> {
    let connections = parameters.connections_or(8);
    let data = Data::short(connections as u64, 64 * 1024);
    let source = move |_| -> Box<dyn Source> {
        Box::new(Repeated(move |connection, batch: &mut Batch| request(&data, connection as u64, batch)))
    };
    encrypted(data, connections, Box::new(source), Lifetime::Kept)
}

fn encrypted(data: Data, connections: usize, source: MakeSource, lifetime: Lifetime) -> Box<dyn Workload> {
    let mut load = Closed::new(data, connections, source);
    load.shape = Shape { is_encrypted: true, ..load.shape };
    load.lifetime = lifetime;
    Box::new(Encrypted { load, config: client_config() })
}

/// A closed-loop workload over TLS.
struct Encrypted {
    load: Closed,
    config: Arc<ClientConfig>,
}

impl Workload for Encrypted {
    fn shape(&self) -> Shape {
        self.load.shape
    }

    fn prepare(&mut self, servers: &[Server], _round: &Round) -> Result<(), Error> {
        servers.iter().try_for_each(|server| fill(server, &self.load.data))
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let mut client = Client::connect(server, self)?;
        let mut source = (self.load.source)(1);
        client.run(source.as_mut(), round.warm_up)?;
        let meter = Meter::start(server.id(), round.counters)?;
        let outcome = client.run(source.as_mut(), round.time)?;
        sample(&outcome, &meter.stop()?, server)
    }
}

/// Encrypted connections to one server.
struct Client<'a> {
    server: &'a Server,
    workload: &'a Encrypted,
    poll: Poll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    session: ClientConnection,
    batch: Batch,
    /// `received <= batch.reply.len()`; at the end: idle
    received: usize,
    started: Instant,
}

impl<'a> Client<'a> {
    fn connect(server: &'a Server, workload: &'a Encrypted) -> Result<Client<'a>, Error> {
        let poll = Poll::new().map_err(Error::system("create an event queue"))?;
        let mut connections = Vec::new();
        for index in 0..workload.load.connections {
            connections.push(Connection::open(server, workload, |address| open(address, &poll, index))?);
        }
        Ok(Client { server, workload, poll, connections, buffer: vec![0; 128 * 1024] })
    }

    fn run(&mut self, source: &mut dyn Source, time: Duration) -> Result<Outcome, Error> {
        let Client { server, workload, poll, connections, buffer } = self;
        let mut sources = SourceAddresses::default();
        drive(poll, connections, buffer, time, |poll, connection, index| {
            if workload.load.lifetime == Lifetime::PerBatch {
                let batch = std::mem::take(&mut connection.batch);
                let connected = |address| sources.open(address, poll, index);
                *connection = Connection { batch, ..Connection::open(server, workload, connected)? };
            }
            let step = source.fill(index, &mut connection.batch);
            if step == Step::Send {
                connection.received = 0;
                connection.started = Instant::now();
                let sent = connection.session.writer().write_all(&connection.batch.request);
                sent.map_err(Error::system("encrypt a request"))?;
                connection.send()?;
            }
            Ok(step)
        })
    }
}

impl Connection {
    fn open(
        server: &Server,
        workload: &Encrypted,
        connect: impl FnOnce(SocketAddr) -> Result<TcpStream, Error>,
    ) -> Result<Connection, Error> {
        let tls = server.tls.as_ref().ok_or_else(|| server.failure("it was started without TLS".to_string()))?;
        let name = ServerName::try_from("localhost").expect("localhost is a name");
        let mut session = ClientConnection::new(Arc::clone(&workload.config), name).map_err(broken)?;
        session.set_buffer_limit(None);
        let stream = connect(tls.address)?;
        Ok(Connection { stream, session, batch: Batch::default(), received: 0, started: Instant::now() })
    }

    fn send(&mut self) -> Result<(), Error> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Err(Error::System { action: "send", source: error }),
            }
        }
        Ok(())
    }
}

impl Link for Connection {
    fn is_idle(&self) -> bool {
        self.received == self.batch.reply.len()
    }

    fn advance(&mut self, _event: &Event, buffer: &mut [u8]) -> Result<(), Error> {
        self.send()?;
        loop {
            match self.session.read_tls(&mut self.stream) {
                Ok(0) => return Err(Error::System { action: "receive", source: ErrorKind::UnexpectedEof.into() }),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Err(Error::System { action: "receive", source: error }),
            }
            self.session.process_new_packets().map_err(broken)?;
            while let Ok(count) = self.session.reader().read(buffer)
                && count > 0
            {
                self.received = self.batch.check(self.received, &buffer[..count])?;
            }
        }
        self.send()
    }

    fn batch(&self) -> (Instant, u64) {
        (self.started, self.batch.operations)
    }
}

fn broken(error: rustls::Error) -> Error {
    Error::System { action: "speak TLS", source: std::io::Error::other(error) }
}

fn client_config() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Believes every server: these are our own.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
