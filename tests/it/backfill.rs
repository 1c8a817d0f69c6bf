//! What was missed is fetched from the node's own archive: exactly that, once, and marked; whatever way it is read, and however often.

mod comparing;
mod imports;
mod nodes;
mod parts;
