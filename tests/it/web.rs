//! The console over HTTP: who may see what, forms, headers, hostile content, the API and its description, and a real browser.

mod api;
mod content;
mod exports;
mod find;
mod forms;
mod matrix;
mod site;
mod walk;
