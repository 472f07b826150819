//! Logins of the binary protocol (`-S`): which mechanisms there are, the first message of a login, later ones.
//!
//! ```text
//!   start PLAIN message ------------------------------> answered
//!   start PLAIN (nothing) --> 0021 --> step message --> answered; after a failure the step may come again
//!   start CRAM-MD5 (nothing) --> 0021 challenge --> step response --> answered
//! ```
//! Each of the three requests takes an earlier login back, asking for the list too, as in memcached. So do its library's
//! ways after a login: a step fails, and so does the next login on the connection, once. Without `-S` all three are unknown
//! commands.

use crate::protocol::binary::opcode::{Command, Opcode};
use crate::protocol::binary::reply::{Echo, Parts, Status, push_error, push_header, push_value};

use super::super::login::failures::{self, Cause};
use super::super::login::mechanism::{self, Mechanism};
use super::super::login::{Answer, Logins, Method, Ticket};
use super::super::output::Output;
use super::super::service::Context;
use super::{BinaryState, Outcome, Packet, State, Step};

/// What a connection knows of its login.
#[derive(Default, Debug)]
pub(super) struct Sasl {
    is_logged_in: bool,
    /// A login has succeeded, and none has failed at its start since.
    is_over: bool,
    exchange: Option<Exchange>,
    pending: Option<Pending>,
}

/// A login that has begun, waiting for a step.
#[derive(Debug)]
enum Exchange {
    Plain,
    CramMd5 { challenge: Vec<u8> },
}

/// A login whose password is being verified.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    echo: Echo,
    /// What goes on if it fails.
    on_failure: Option<Exchange>,
}

/// What a message of a login came to.
enum Reaction {
    /// A failure leaves this exchange.
    Answered(Result<(), Cause>, Option<Exchange>),
    /// The client has to send more, given this.
    Continue(Exchange),
    /// The password is being verified.
    Pending(Ticket, Option<Exchange>),
}

impl BinaryState {
    /// Whether the connection may ask for this: without a login for a login, and for the version.
    #[inline]
    pub(super) fn is_allowed(&self, opcode: u8) -> bool {
        match &self.sasl {
            Some(sasl) if !sasl.is_logged_in => is_free(opcode),
            _ => true,
        }
    }

    /// Executes one of the three requests.
    pub(super) fn log_in(&mut self, packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
        let prefix_bytes = packet.header.prefix_bytes();
        let (echo, value_bytes) = (packet.echo(), packet.value_bytes);
        let (Some(logins), Some(sasl)) = (&context.service.logins, &mut self.sasl) else {
            return self.swallow_first(prefix_bytes, value_bytes, echo, Status::UnknownCommand, output);
        };
        let Method::Sasl(offered) = &logins.method else {
            return self.swallow_first(prefix_bytes, value_bytes, echo, Status::UnknownCommand, output);
        };
        if packet.opcode.command == Command::SaslList {
            sasl.is_logged_in = false;
            push_value(echo, offered.names().as_bytes(), 0, output.bytes());
            return Step::answered(prefix_bytes);
        }
        if packet.key.len() > MECHANISM_BYTES_MAX {
            return self.swallow_first(prefix_bytes, value_bytes, echo, Status::InvalidArguments, output);
        }
        // memcached receives the message into an item, which has to be one chunk.
        if value_bytes + packet.key.len() + ITEM_BYTES > context.service.store.config().slab_chunk_max {
            return self.swallow_first(prefix_bytes, value_bytes, echo, Status::NoMemoryReceiving, output);
        }
        if value_bytes > MESSAGE_BYTES_MAX {
            sasl.is_logged_in = false;
            if packet.opcode.command == Command::SaslStart {
                (sasl.is_over, sasl.exchange) = (false, None);
            }
            count_failure(Cause::Malformed, context);
            return self.swallow_first(prefix_bytes, value_bytes, echo, Status::AuthFailure, output);
        }
        let Some(message) = packet.rest.get(..value_bytes) else {
            return Step::wait(prefix_bytes + value_bytes);
        };
        sasl.is_logged_in = false;
        let reaction = match packet.opcode.command {
            Command::SaslStart => sasl.start(packet.key, message, offered, logins, context),
            _ => sasl.step(message, offered, logins, context),
        };
        let consumed = prefix_bytes + value_bytes;
        match reaction {
            Reaction::Answered(result, on_failure) => {
                sasl.conclude(result, on_failure, echo, output, context);
                Step::answered(consumed)
            }
            Reaction::Continue(exchange) => {
                let challenge: &[u8] = match &exchange {
                    Exchange::Plain => b"",
                    Exchange::CramMd5 { challenge } => challenge,
                };
                let parts = Parts { value_bytes: challenge.len(), ..Parts::default() };
                push_header(echo, Status::Continue, parts, 0, output.bytes());
                output.push(challenge);
                sasl.exchange = Some(exchange);
                Step::answered(consumed)
            }
            Reaction::Pending(ticket, on_failure) => {
                sasl.pending = Some(Pending { ticket, echo, on_failure });
                self.state = State::Login;
                Step { consumed, outcome: Outcome::Continued }
            }
        }
    }

    /// Looks whether the password has been verified.
    pub(super) fn await_login(&mut self, output: &mut Output, context: &mut Context<'_>) -> Step {
        let Some(sasl) = &mut self.sasl else {
            return Step::wait(0);
        };
        let Some((pending, answer)) = sasl.pending.take().map(|pending| {
            let answer = pending.ticket.answer();
            (pending, answer)
        }) else {
            return Step::wait(0);
        };
        let Some(answer) = answer else {
            sasl.pending = Some(pending);
            return Step::wait(0);
        };
        sasl.conclude(answer, pending.on_failure, pending.echo, output, context);
        self.state = State::Header;
        Step::answered(0)
    }
}

impl Sasl {
    fn start(
        &mut self,
        name: &[u8],
        message: &[u8],
        offered: &mechanism::Sasl,
        logins: &Logins,
        context: &Context<'_>,
    ) -> Reaction {
        let is_over = std::mem::take(&mut self.is_over);
        match offered.find(name) {
            None => Reaction::Answered(Err(Cause::Mechanism), None),
            Some(Mechanism::Plain) if message.is_empty() => {
                self.is_over = is_over;
                Reaction::Continue(Exchange::Plain)
            }
            Some(_) if is_over => Reaction::Answered(Err(Cause::Malformed), None),
            Some(Mechanism::Plain) => check_plain(message, None, offered, logins, context),
            Some(Mechanism::CramMd5) if message.is_empty() => {
                let challenge = offered.challenge(context.now.unix(context.now.seconds));
                Reaction::Continue(Exchange::CramMd5 { challenge })
            }
            Some(Mechanism::CramMd5) => Reaction::Answered(Err(Cause::Malformed), None),
        }
    }

    /// The mechanism's name is not looked at here, as in memcached.
    fn step(&mut self, message: &[u8], offered: &mechanism::Sasl, logins: &Logins, context: &Context<'_>) -> Reaction {
        match self.exchange.take().filter(|_| !self.is_over) {
            None => Reaction::Answered(Err(Cause::Malformed), None),
            Some(Exchange::Plain) => check_plain(message, Some(Exchange::Plain), offered, logins, context),
            Some(Exchange::CramMd5 { challenge }) => {
                let response = offered.read_response(message);
                let result = response.ok_or(Cause::Malformed).and_then(|((user, bare_user), digest)| {
                    let users: Vec<&[u8]> =
                        [Some(&user), bare_user.as_ref()].into_iter().flatten().map(|user| &user[..]).collect();
                    let is_theirs = logins.accounts().check_response(&users, &challenge, &digest);
                    is_theirs.then_some(()).ok_or(Cause::Credentials)
                });
                Reaction::Answered(result, None)
            }
        }
    }

    fn conclude(
        &mut self,
        result: Result<(), Cause>,
        on_failure: Option<Exchange>,
        echo: Echo,
        output: &mut Output,
        context: &mut Context<'_>,
    ) {
        self.is_logged_in = result.is_ok();
        self.is_over |= result.is_ok();
        self.exchange = on_failure.filter(|_| result.is_err());
        match result {
            Ok(()) => {
                context.counters().auth_cmds.add(1);
                push_value(echo, b"Authenticated", 0, output.bytes());
            }
            Err(cause) => {
                count_failure(cause, context);
                push_error(echo, Status::AuthFailure, output.bytes());
            }
        }
    }
}

fn check_plain(
    message: &[u8],
    on_failure: Option<Exchange>,
    offered: &mechanism::Sasl,
    logins: &Logins,
    context: &Context<'_>,
) -> Reaction {
    let Some(claim) = offered.read_plain(message) else {
        return Reaction::Answered(Err(Cause::Malformed), on_failure);
    };
    match logins.check(claim, || context.wake.handle()) {
        Answer::Accepted => Reaction::Answered(Ok(()), None),
        Answer::Refused(cause) => Reaction::Answered(Err(cause), on_failure),
        Answer::Later(ticket) => Reaction::Pending(ticket, on_failure),
    }
}

/// Every failed message counts as an attempt, as in memcached.
fn count_failure(cause: Cause, context: &mut Context<'_>) {
    context.counters().auth_cmds.add(1);
    context.counters().auth_errors.add(1);
    failures::note(cause, context);
}

/// Whether anybody may ask for this.
fn is_free(opcode: u8) -> bool {
    let command = Opcode::find(opcode).map(|opcode| opcode.command);
    matches!(command, Some(Command::SaslList | Command::SaslStart | Command::SaslStep | Command::Version))
}

/// Bytes of a mechanism's name (memcached's `MAX_SASL_MECH_LEN`).
const MECHANISM_BYTES_MAX: usize = 32;
/// Bytes of a message that can be right: the user twice and the password once, 252 bytes each, and a realm.
const MESSAGE_BYTES_MAX: usize = 2048;
/// What memcached's item has besides mechanism and message.
const ITEM_BYTES: usize = 56 + 1 + 2;
