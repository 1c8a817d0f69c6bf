//! The console over HTTP: who may see what, forms, headers, hostile content, the API and its description, and a real browser.

mod api;
mod calls;
mod content;
mod exports;
mod factor;
mod find;
mod forms;
mod matrix;
mod scopes;
mod sights;
mod site;
mod walk;
