//! placeholder
pub mod component;
pub mod time;
