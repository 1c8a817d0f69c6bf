//! x
pub mod backoff;
pub mod framing;
