//! The client: what it sends ([`data`], [`request`], [`batch`], [`source`]), how it drives a server as fast as that
//! answers ([`client`]) and how it drives it at a given rate ([`open`]). Connections that do not last come from many addresses
//! ([`source_address`]).

pub mod batch;
pub mod client;
pub mod data;
pub mod look_aside;
pub mod open;
pub mod request;
pub mod source;
pub mod source_address;
pub mod stream;
