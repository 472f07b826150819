//! Memory for items: memcached's slab classes as users see them, and what stands behind them here.
//!
//! * [`classes`]: the class table, memcached's numbers.
//! * [`bins`]: slot sizes inside a class, in finer steps than the classes.
//! * [`budget`]: pages of 1 MiB by class against the memory limit, for the whole process.
//! * [`regions`]: the partition's memory as it comes from the system.
//! * [`spans`]: parts of it, of equal slots.

pub mod bins;
pub mod budget;
pub mod classes;
pub mod regions;
pub mod spans;
