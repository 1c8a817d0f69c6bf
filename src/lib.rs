//! placeholder
pub mod spool;
