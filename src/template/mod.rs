//! Templates: Handlebars over the model, whose values are put in after the YAML is parsed.
//!
//! [`load`] finds the templates of every service, [`render`] makes objects of them. On the way a template
//! is compiled (`strict`), run over the `context` of a service so that every value is a token in the
//! text (`engine`), parsed as YAML, and filled with the values (`substitute`). Values can therefore
//! never become syntax, and every field knows the line of its template and the place of its value.

mod ast;
mod context;
mod document;
mod engine;
mod env;
mod functions;
mod literal;
mod load;
mod path;
mod placeholder;
mod render;
mod scope;
mod source;
mod strict;
mod substitute;
mod syntax;
mod tag;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod value;

pub use load::{Templates, load};
pub use render::render;
