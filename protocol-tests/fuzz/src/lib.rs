//! What the fuzz targets share: conversations in process, cut anywhere, and the simple models that replies are compared
//! with. The targets in `fuzz_targets/` are a few lines each; what a target checks is a `check` function in here.

pub mod binary_parser;
pub mod bytes;
pub mod connection_cuts;
pub mod drive;
pub mod meta_parser;
pub mod option_parser;
pub mod oracle;
pub mod random;
pub mod store_model;
pub mod text_parser;
