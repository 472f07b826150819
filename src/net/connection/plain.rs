//! The plain turn: of a connection from whose last turn nothing is left, as nearly all are. One read, one frequent request, one
//! send, and it waits again. It does what the turn in general does (see the module above), without asking at each step for
//! what cannot be; as soon as something is out of the ordinary the general turn goes on with it.

use super::{Connection, Step, Verdict};
use crate::command::One;
use crate::net::tools::{Lent, Tools};
use crate::stats::connections::ConnectionState;

use super::read::Read;

impl Connection {
    /// Whether its turn is a plain one.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        debug_assert!(!self.is_at_rest || self.has_come_to_rest());
        self.is_at_rest && self.is_readable
    }

    /// Whether a turn has left nothing unfinished. Asked after those that are not plain; plain ones leave it as it is.
    pub(super) fn has_come_to_rest(&self) -> bool {
        let has_more =
            self.is_unfinished || self.is_blocked || self.is_read_closed || self.is_ended || self.expects_large;
        !has_more
            && self.deferrals == 0
            && self.closing.is_none()
            && self.output.is_none()
            && self.tail.is_empty()
            && self.session.is_at_command()
    }

    /// The plain turn; or the step that the general turn has to go on with.
    #[inline(always)]
    pub(super) fn turn_plainly(&mut self, token: usize, tools: &mut Tools) -> Result<Verdict, Option<Step>> {
        debug_assert!(tools.output.is_empty() && self.needed == 0);
        let length = tools.read_buffer.len();
        let result = self.stream.read(&mut tools.read_buffer, &mut tools.tls);
        let counters = &*tools.counters;
        let total = match self.note_read(result, length, counters) {
            Read::Bytes(total) => total,
            other => return Err(Some(self.step_without_bytes(&other))),
        };
        self.show_parsing(tools.now);
        let is_passed_over = tools.sampler.passes_over();
        let mut one = One::Other;
        if is_passed_over {
            let input = &tools.read_buffer[..total];
            one = self.session.answer_one(input, &mut tools.output, &tools.service, tools.now);
        }
        if one != One::Answered {
            return Err(Some(self.process_plainly_read(total, one, is_passed_over, token, tools)));
        }
        self.last_command = tools.now.seconds;
        let is_sent = !tools.output.is_torn() && self.send_at_once(&mut tools.output, &mut tools.tls, counters);
        if !is_sent || self.is_readable {
            return Err(Some(Step::Wait));
        }
        self.entry.set_state(ConnectionState::Read);
        Ok(Verdict::Wait)
    }

    /// Lets the session work on a read that is not just one frequent request.
    #[inline(never)]
    fn process_plainly_read(
        &mut self,
        total: usize,
        one: One,
        is_passed_over: bool,
        token: usize,
        tools: &mut Tools,
    ) -> Step {
        let Lent { mut context, read, output, sampler } = tools.lend(token, self.stream.descriptor(), &self.peer);
        let progress = match is_passed_over {
            true => self.session.process_other(one, &read[..total], output, &mut context),
            false => sampler.process_closely(&mut self.session, &read[..total], output, &mut context),
        };
        self.settle_read(total, progress, token, tools)
    }
}
