//! The binary protocol: headers, opcodes with the layout each demands, and replies.

pub mod header;
pub mod opcode;
pub mod reply;
