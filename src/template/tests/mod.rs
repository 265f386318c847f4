//! The rules of templates, one file each; expectations are written by hand.

mod built_in;
mod expressions;
mod properties;
mod provenance;
mod secrets;
mod strictness;
mod values;
